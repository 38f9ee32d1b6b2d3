"""Predictions with a known error, and prompts that share what the recording says."""

import pytest

from gateway.replay import costs
from gateway.replay.prompts import Prompts
from gateway.workloads.traces import RecordedApplication, RecordedCall


def application(name: str, kind: str, *lengths: tuple[int, int]) -> RecordedApplication:
    calls = tuple(RecordedCall(i, (), None, 0.0, prompt, output) for i, (prompt, output) in enumerate(lengths))
    return RecordedApplication(name, kind, calls, "")


SMALL = application("s", "small", (10, 2))
LARGE = application("l", "large", (10, 2), (100, 10))


def test_costs() -> None:
    assert costs.oracle([SMALL, LARGE]) == [23, 23 + 1055]
    other = application("o", "small", (10, 4))
    assert costs.kind_mean([SMALL, LARGE], [SMALL, other, LARGE]) == [(23 + 50) / 2, 1078]
    assert costs.kind_median([LARGE, SMALL], [SMALL, SMALL, other, LARGE]) == [1078, 23]
    by_tokens = costs.tokens([SMALL, LARGE])
    assert sum(by_tokens) == pytest.approx(23 + 1078)
    assert by_tokens[1] / by_tokens[0] == pytest.approx((14 + 120) / 14)


def test_errors_are_as_large_as_they_are_said_to_be() -> None:
    drawn = costs.noisy([100.0] * 1000, 0.3, seed=1)  # type: ignore[list-item]
    assert 70 <= min(drawn) < 75
    assert 125 < max(drawn) <= 130
    assert costs.noisy([1.0, 2.0], 0.3, seed=1) == costs.noisy([1.0, 2.0], 0.3, seed=1)  # type: ignore[list-item]
    assert costs.largest_divided([1.0, 300.0, 200.0], 2, 100) == [1.0, 3.0, 2.0]  # type: ignore[list-item]
    assert costs.largest_divided([1.0, 2.0], 0, 100) == [1.0, 2.0]  # type: ignore[list-item]


def test_prompts_share_what_they_extend_and_nothing_else() -> None:
    first = RecordedCall(0, (), None, 0.0, 50, 10)
    second = RecordedCall(1, (0,), 0, 0.0, 80, 5)
    recorded = RecordedApplication("a", "k", (first, second), "")
    prompts = Prompts(7, 1000, are_shared=True)
    one, other = prompts.of(recorded), prompts.of(recorded)
    assert len(one[0]) == 50
    assert len(one[1]) == 80
    assert list(one[1][:60]) == [*one[0], *[7] * 10]
    assert not set(one[1][60:]) & set(one[0])
    assert not (set(one[0]) | set(one[1][60:])) & (set(other[0]) | set(other[1][60:]))


def test_prompts_leave_room_for_the_answer() -> None:
    recorded = application("a", "k", (500, 40))
    for are_shared in (True, False):
        assert len(Prompts(7, 100, are_shared=are_shared).of(recorded)[0]) == 60


def test_the_same_message_at_the_same_place_is_the_same_tokens() -> None:
    """Two runs of one agent: its system prompt is shared by as much as both prompts hold of it, the question is not."""

    def run(question: str, prompt_tokens: int) -> RecordedApplication:
        append = ({"role": "system", "content": "x" * 899}, {"role": "user", "content": question})
        return RecordedApplication("a", "k", (RecordedCall(0, (), None, 0.0, prompt_tokens, 5, append, "done"),))

    prompts = Prompts(7, 10_000, are_shared=True)
    short, long = (list(prompts.of(run(*one))[0]) for one in (("y" * 99, 1000), ("z" * 99, 2000)))
    assert (len(short), len(long)) == (1000, 2000)
    assert short[:900] == long[:900]
    assert not set(short[900:]) & set(long)
    assert prompts.of(run("y" * 99, 1000))[0] == short
