import pytest

from gateway.workloads.sample import SHARES, sample_applications
from gateway.workloads.workload import WorkloadError, drawn, poisson_arrivals, scaled_arrivals


def test_the_sample_is_a_function_of_its_seed() -> None:
    assert sample_applications(40, seed=1) == sample_applications(40, seed=1)
    assert sample_applications(40, seed=1) != sample_applications(40, seed=2)


@pytest.mark.parametrize("count", [1, 7, 20, 60])
def test_the_sample_has_its_shares_and_no_more(count: int) -> None:
    kinds = [application.kind for application in sample_applications(count, seed=3)]

    assert len(kinds) == count
    for kind in SHARES.keys() - {"question"}:
        assert kinds.count(kind) == round(SHARES[kind] * count)


def test_the_sample_has_the_shapes_it_promises() -> None:
    calls_of = {
        "question": range(1, 4),
        "tool_agent": range(6, 11),
        "map_reduce": range(9, 14),
        "report": range(18, 19),
    }

    for application in sample_applications(200, seed=4):
        assert len(application.calls) in calls_of[application.kind]
        ids = [call.call_id for call in application.calls]
        assert ids == list(range(len(ids)))
        assert application.input_text
        by_id = {call.call_id: call for call in application.calls}
        for call in application.calls:
            assert all(other < call.call_id for other in call.after)
            if call.extends is not None:
                parent = by_id[call.extends]
                assert call.prompt_tokens > parent.prompt_tokens + parent.completion_tokens
            # Fits the context that the demo gives its engine, with room for what a tokenizer may add.
            assert call.prompt_tokens + call.completion_tokens < 2048 * 0.9
        if application.kind in ("map_reduce", "report"):
            last = application.calls[-1]
            assert len(last.after) == len([call for call in application.calls[:-1] if call.call_id in last.after]) >= 8


def test_poisson_arrivals_fill_the_window_from_its_start_to_its_end() -> None:
    arrivals_s = poisson_arrivals(50, 30.0, seed=1)

    assert len(arrivals_s) == 50
    assert arrivals_s[0] == 0.0
    assert arrivals_s[-1] == pytest.approx(30.0)
    assert list(arrivals_s) == sorted(arrivals_s)
    assert arrivals_s == poisson_arrivals(50, 30.0, seed=1) != poisson_arrivals(50, 30.0, seed=2)
    assert poisson_arrivals(1, 30.0, seed=1) == (0.0,)


def test_the_first_recorded_arrivals_are_scaled_to_the_window() -> None:
    assert scaled_arrivals([100.0, 101.0, 104.0, 999.0], 3, 10.0) == (0.0, 2.5, 10.0)
    assert scaled_arrivals([5.0, 5.0], 2, 10.0) == (0.0, 0.0)
    with pytest.raises(WorkloadError, match="has only 2"):
        scaled_arrivals([5.0, 5.0], 3, 10.0)


def test_applications_are_drawn_without_repetition() -> None:
    sample = sample_applications(20, seed=1)

    chosen = drawn(sample, 20, seed=1)

    assert chosen != sample
    assert {application.app_id for application in chosen} == {application.app_id for application in sample}
    assert drawn(sample, 5, seed=1) == drawn(sample, 5, seed=1)
    with pytest.raises(WorkloadError, match="only 20"):
        drawn(sample, 21, seed=1)
