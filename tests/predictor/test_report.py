"""The reports have every row they promise, and say what is known of made-up applications."""

import numpy as np
import pytest

from predictor import report
from predictor.baselines import BASELINES
from predictor.training import train
from tests.predictor.applications import examples, retrying

SEEN = examples(120)


def test_every_model_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: report.MODELS[name] for name in ("kind mean", report.DEFAULT)}
    monkeypatch.setattr(report, "MODELS", few)
    told: list[str] = []
    judgement = report.judged(SEEN, by_task=False, told=told.append)
    found = judgement.rows
    assert told == ["kind mean", report.DEFAULT]
    kinds = (None, "chat", "map")
    assert [(row["model"], row["kind"]) for row in found] == [(name, kind) for name in told for kind in kinds]
    assert [row["interval_coverage"] for row in found[:3]] == [None] * 3
    assert 0.6 <= found[3]["interval_coverage"] <= 1
    assert found[3]["mean_abs_log_error"] < found[0]["mean_abs_log_error"] / 2
    assert judgement.quantiles.shape == (120, 3)
    assert 0 < found[3]["latency_p50_ms"] <= found[3]["latency_p99_ms"]


def test_an_artifact_is_asked_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MODELS", {name: report.MODELS[name] for name in ("kind mean", report.DEFAULT)})
    model = train(examples(60, seed=9))
    judgement = report.judged(SEEN, by_task=False, told=lambda _: None, model=model, without=["kind mean"])
    assert {row["model"] for row in judgement.rows} == {"artifact"}
    assert (judgement.quantiles == model.quantiles([example.features for example in SEEN])).all()


def test_models_without_a_kind_have_not_seen_it() -> None:
    for places, model in report.models_without_kind(SEEN):
        [kind] = {SEEN[place].features.kind for place in places}
        assert kind not in model.kinds


def test_all_baselines_are_in_the_report() -> None:
    assert list(report.MODELS) == [*BASELINES, "network", report.DEFAULT]


def test_it_learns_with_every_example() -> None:
    found = report.learning_curve(SEEN, sizes=(10, 30, 1000), num_seeds=2)
    ours = [row for row in found if row["model"] == report.DEFAULT]
    assert [row["trained_on"] for row in ours] == [10, 30, 100]
    errors = [row["mean_abs_log_error"] for row in ours]
    assert errors[0] > errors[1] > errors[2]


def test_a_kind_never_seen_is_held_out() -> None:
    found = report.held_out_kinds([*SEEN, *retrying(20)])
    assert [row["kind"] for row in found] == ["chat", "map", "retry"]
    assert [row["examples"] for row in found] == [60, 60, 20]
    # Each lies a thousandfold from the others: who has not seen it cannot know.
    assert all(row["mean_abs_log_error"] > 1 for row in found)
    assert report.held_out_kinds(retrying(20)) == []


def test_refinement_is_reported_by_kind_and_never_worse() -> None:
    found = report.progress_rows([*SEEN, *retrying(60)])
    assert [row["kind"] for row in found] == [None, "retry"]
    assert [row["examples"] for row in found] == [60, 60]
    assert found[1]["refined_mean_abs_log_error"] < found[1]["first_mean_abs_log_error"] / 2


def test_a_third_is_of_all_calls_and_not_of_the_snapshots() -> None:
    [run] = [example for example in retrying(10) if len(example.progress) == 11][:1]
    assert run.progress[report._after_a_third(run.progress)].num_ended == 4
    assert run.progress[report._after_a_third(run.progress[::5])].num_ended == 2


def test_latencies_are_of_all_that_is_asked() -> None:
    seen = [*SEEN[:20], *retrying(20)]
    found = report.latency(train(seen), seen, count=20)
    assert all(took_ms > 0 for took_ms in found.values())
    assert {"single_p50_ms", "features_and_single_p99_ms", "refined_p99_ms", "batch_of_64_p50_ms"} <= found.keys()
    assert "refined_p50_ms" not in report.latency(train(SEEN[:20]), SEEN[:20], count=5)


def test_costs_and_models_have_not_seen_what_they_are_for() -> None:
    costs = report.out_of_fold_costs(SEEN, "kind mean")
    assert len(costs) == 120
    assert len(report.out_of_fold_costs(SEEN)) == 120
    parts = list(report.out_of_fold_models(SEEN))
    assert sorted(int(place) for held_out, _ in parts for place in held_out) == list(range(120))
    for held_out, model in parts:
        kinds = {SEEN[place].features.kind for place in held_out}
        assert kinds <= set(model.kinds)
        assert np.isfinite(model.quantiles([SEEN[place].features for place in held_out])).all()
