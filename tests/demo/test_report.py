import json
import math

import pytest

from gateway.demo.meter import EngineReading
from gateway.demo.replay import ApplicationRecord, CallRecord
from gateway.demo.report import EngineUse, RunRecord, jct_summaries, percentile, raw, table


def done(app_id: str, kind: str, arrival_s: float, jct_s: float, cost: float = 1.0) -> ApplicationRecord:
    call = CallRecord(0, arrival_s, arrival_s + jct_s, 10, 5)
    return ApplicationRecord(app_id, kind, arrival_s, jct_s, cost, (call,), 1, ())


def failed(app_id: str, kind: str) -> ApplicationRecord:
    return ApplicationRecord(app_id, kind, 0.0, None, 1.0, (), 3, ("call 0: 502",))


def reading(kv_usage: float = 0.0, running: int = 0, preemptions: int = 0, steps: int = 0) -> EngineReading:
    return EngineReading(kv_usage, running, 0, preemptions, steps, 100 * steps, 25 * steps)


def run(policy: str, *applications: ApplicationRecord, round_number: int = 1) -> RunRecord:
    readings = (
        reading(preemptions=7, steps=1000),
        reading(0.95, running=2),
        reading(0.85, running=2),
        reading(preemptions=9, steps=1040),
    )
    return RunRecord(policy, round_number, applications, readings)


RUNS = [
    run("justitia", done("s1", "small", 0.0, 1.0), done("s2", "small", 1.0, 3.0), done("l", "large", 0.0, 20.0, 9.0)),
    run("fcfs", done("s1", "small", 0.0, 4.0), done("s2", "small", 1.0, 4.0), done("l", "large", 0.0, 16.0, 9.0)),
    run("fcfs", done("s1", "small", 0.0, 6.0), done("s2", "small", 1.0, 6.0), done("l", "large", 0.0, 24.0, 9.0)),
]


def test_percentiles_lie_between_the_nearest_ranks() -> None:
    assert percentile([5.0], 0.9) == 5.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(11), 0.9) == 9.0
    assert percentile([0.0, 10.0], 0.9) == pytest.approx(9.0)
    assert math.isnan(percentile([], 0.9))


def test_means_are_over_all_rounds_and_ratios_to_fcfs() -> None:
    found = {(one.kind, one.policy): one for one in jct_summaries(RUNS)}

    assert list(found) == [
        (None, "justitia"),
        (None, "fcfs"),
        ("small", "justitia"),
        ("small", "fcfs"),
        ("large", "justitia"),
        ("large", "fcfs"),
    ]
    assert found[None, "justitia"].mean_s == 8.0
    assert found[None, "fcfs"].mean_s == 10.0
    assert found[None, "fcfs"].num_applications == 6
    assert found[None, "justitia"].ratio == 0.8
    assert found["small", "justitia"].ratio == 0.4
    assert found["large", "justitia"].ratio == 1.0
    assert found["small", "fcfs"].p90_s == 6.0


def test_without_fcfs_the_first_policy_is_the_baseline() -> None:
    runs = [run("vtc", done("a", "k", 0.0, 4.0)), run("las", done("a", "k", 0.0, 6.0))]

    assert [one.ratio for one in jct_summaries(runs)[:2]] == [1.0, 1.5]
    assert "mean vs vtc" in table(runs)


def test_what_a_run_did_to_the_engine_is_the_difference_it_made() -> None:
    use = EngineUse.of(run("fcfs", done("a", "k", 0.0, 10.0), done("b", "k", 0.0, 40.0)))

    assert use.kv_usage_mean == pytest.approx(0.9)
    assert use.kv_full_share == 0.5
    assert use.preemptions == 2
    assert use.steps == 40
    assert use.prefix_hit_share == 0.25
    # 50 s of calls in flight within 40 s are 1.25 at a time; 2 were running by the readings, so none waited.
    assert use.unserved_mean == 0.0


def test_calls_in_flight_that_do_not_run_are_unserved() -> None:
    use = EngineUse.of(run("fcfs", *(done(f"a{number}", "k", 0.0, 10.0) for number in range(5))))

    assert use.unserved_mean == pytest.approx(3.0)


def test_a_failed_application_is_counted_and_in_no_mean() -> None:
    one = run("fcfs", done("a", "k", 0.0, 4.0), failed("b", "k"))

    assert one.num_failed_calls == 3
    assert one.failures == ["b: call 0: 502"]
    assert jct_summaries([one])[0].mean_s == 4.0
    shown = [line.split() for line in table([one]).splitlines()]
    assert ["fcfs", "4.0", "s", "1", "3"] in [line[:5] for line in shown]


def test_a_run_in_which_nothing_ended_is_still_reported() -> None:
    one = run("fcfs", failed("b", "k"))

    assert one.makespan_s == 0.0
    assert "nan" in table([one])
    assert json.loads(json.dumps(raw([one]), allow_nan=False))["summary"][0]["mean_jct_s"] is None


def test_everything_raw_is_there() -> None:
    found = raw(RUNS)

    assert [(one["policy"], one["round"], one["makespan_s"]) for one in found["runs"]] == [
        ("justitia", 1, 20.0),
        ("fcfs", 1, 16.0),
        ("fcfs", 1, 24.0),
    ]
    assert found["runs"][0]["applications"][1] == {
        "id": "s2",
        "kind": "small",
        "arrival_s": 1.0,
        "jct_s": 3.0,
        "calls": 1,
        "cost": 1.0,
        "prompt_tokens": 10,
        "output_tokens": 5,
    }
    assert found["runs"][0]["engine"]["kv_usage_each_s"] == [0.95, 0.85]
    assert len(found["summary"]) == 6
