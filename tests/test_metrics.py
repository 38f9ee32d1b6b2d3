import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.fairness.units import KvTokenTime
from gateway.identity import KindRegistry
from gateway.metrics import Metrics, forget_worker
from gateway.ports import Prediction

CONTRACT = """
    applications_backlogged virtual_time_kv_token_iterations calls_queued calls_running calls_total
    application_completion_seconds call_queue_seconds call_time_to_first_token_seconds gateway_overhead_seconds
    service_kv_token_iterations_total application_lag_kv_token_iterations prediction_relative_error identity_total
    store_operation_seconds store_errors_total engine_up engine_kv_usage_ratio
    prediction_interval_total prediction_drift_ratio predictor_in_use
"""

LABELS = {"policy", "application_kind", "outcome", "engine", "model", "tenant_class", "rule", "operation", "le"}
LABELS |= {"cost", "predictor"}


def with_everything_counted() -> Metrics:
    metrics = Metrics("justitia", KindRegistry(max_kinds=2))
    metrics.call_dispatched(0.1, "a")
    metrics.first_token(0.2, "a")
    metrics.call_ended("completed", "a")
    metrics.overhead(0.001)
    metrics.queue_depth(3, 4)
    metrics.identity("path")
    metrics.application_closed(1.0, "a")
    metrics.prediction(Prediction(KvTokenTime(50), "v", KvTokenTime(40), KvTokenTime(90)), 100.0, "a")
    metrics.prediction_drift(1.25)
    metrics.predictor_in_use("trained")
    metrics.clock(1e9, 7)
    metrics.lag(5.0)
    metrics.service("host:1", 100.5)
    metrics.engine_up("host:1", True)
    metrics.engine_kv_usage("host:1", 0.5)
    metrics.store_operation("arrive", 0.001)
    metrics.store_error("arrive")
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    text, _ = metrics.exposition("")
    return samples_of(text.decode())


def samples_of(text: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_the_contracts_series_are_all_there_with_labels_of_closed_sets() -> None:
    text, _ = with_everything_counted().exposition("")
    families = list(text_string_to_metric_families(text.decode()))
    names = {sample.name for family in families for sample in family.samples}
    names |= {name.removesuffix("_count") for name in names}
    assert {f"justitia_{name}" for name in CONTRACT.split()} <= names
    assert {label for family in families for sample in family.samples for label in sample.labels} <= LABELS


def test_values() -> None:
    seen = samples(with_everything_counted())
    assert seen["justitia_calls_total", "a", "completed", "justitia"] == 1
    assert seen["justitia_calls_queued", "justitia"] == 3
    assert seen["justitia_prediction_interval_total", "a", "above", "justitia"] == 1
    assert seen["justitia_prediction_drift_ratio", "justitia"] == 1.25
    assert seen["justitia_predictor_in_use", "justitia", "trained"] == 1
    assert seen["justitia_predictor_in_use", "justitia", "mean"] == 0
    assert seen["justitia_calls_running", "justitia"] == 4
    assert seen["justitia_virtual_time_kv_token_iterations", "justitia"] == 1e9
    assert seen["justitia_applications_backlogged", "justitia"] == 7
    assert seen["justitia_service_kv_token_iterations_total", "host:1", "justitia"] == 100.5
    assert seen["justitia_prediction_relative_error_sum", "a", "justitia"] == 0.5
    assert seen["justitia_engine_up", "host:1", "justitia"] == 1


def test_clients_cannot_make_the_series_grow() -> None:
    metrics = with_everything_counted()
    for i in range(100):
        metrics.call_ended("completed", f"kind-{i}")
    counts = [value for key, value in samples(metrics).items() if key[0] == "justitia_calls_total"]
    assert sorted(counts) == [1, 1, 99]  # a, kind-0, other


def test_two_gateways_in_one_process_count_apart() -> None:
    with_everything_counted()
    assert not any(name.startswith("justitia_calls_total") for name, *_ in samples(Metrics("fcfs")))


# --- several workers ------------------------------------------------------------------------------------------


def said_by_worker(folder: Path, number: int, text: str, accept: str = "") -> str:
    """What a worker answers after it has counted; `metrics` are its own. Its process has ended, and nobody was told."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gateway.metrics import Metrics, share_metrics\n"
        f"share_metrics(Path({str(folder)!r}), {number})\n"
        "metrics = Metrics('justitia')\n"
        f"{text}\n"
        f"sys.stdout.buffer.write(metrics.exposition({accept!r})[0])\n"
    )
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_each_worker_answers_for_all(tmp_path: Path) -> None:
    said_by_worker(
        tmp_path, 1,
        "metrics.call_ended('completed', 'a'); metrics.overhead(0.001); metrics.queue_depth(3, 4)\n"
        "metrics.clock(200.0, 9); metrics.lag(5.0); metrics.engine_up('e', False); metrics.engine_kv_usage('e', 0.75)\n"
        "metrics.predictor_in_use('trained'); metrics.prediction_drift(3.0)\n"
        "metrics.service('e', 10.0, is_everybodys=True); metrics.service('stock', 1.0)",
    )  # fmt: skip
    second = (
        "metrics.call_ended('completed', 'a'); metrics.overhead(0.001); metrics.queue_depth(1, 1)\n"
        "metrics.clock(100.0, 2); metrics.lag(4.0); metrics.engine_up('e', True); metrics.engine_kv_usage('e', 0.25)\n"
        "metrics.predictor_in_use('mean'); metrics.prediction_drift(2.0)\n"
        "metrics.service('e', 10.0, is_everybodys=True); metrics.service('stock', 1.0)"
    )
    text = said_by_worker(tmp_path, 2, second)
    seen = samples_of(text)
    assert "pid=" not in text
    assert "# HELP justitia_calls_total Calls by how they ended." in text
    assert seen["justitia_calls_total", "a", "completed", "justitia"] == 2
    assert seen["justitia_gateway_overhead_seconds_bucket", "0.001", "justitia"] == 2
    assert seen["justitia_gateway_overhead_seconds_count", "justitia"] == 2
    assert (seen["justitia_calls_queued", "justitia"], seen["justitia_calls_running", "justitia"]) == (4, 5)
    # One clock, and the second looked last: also where it shows less than the first saw.
    assert seen["justitia_virtual_time_kv_token_iterations", "justitia"] == 100
    assert seen["justitia_applications_backlogged", "justitia"] == 2
    assert seen["justitia_application_lag_kv_token_iterations", "justitia"] == 4
    assert seen["justitia_engine_kv_usage_ratio", "e", "justitia"] == 0.25
    assert seen["justitia_prediction_drift_ratio", "justitia"] == 2
    # An engine that one of them does not reach is down for a part of the calls; both predictors are in use.
    assert seen["justitia_engine_up", "e", "justitia"] == 0
    assert seen["justitia_predictor_in_use", "justitia", "trained"] == 1
    assert seen["justitia_predictor_in_use", "justitia", "mean"] == 1
    # The engine's own counter was read by both; the other engine's service is the sum of what each has seen.
    assert seen["justitia_service_kv_token_iterations_total", "e", "justitia"] == 10
    assert seen["justitia_service_kv_token_iterations_total", "justitia", "stock"] == 2


def test_a_replaced_worker_counts_on_and_its_gauges_are_gone(tmp_path: Path) -> None:
    said_by_worker(tmp_path, 1, "metrics.call_ended('completed', 'a'); metrics.queue_depth(3, 4)")
    said_by_worker(tmp_path, 2, "metrics.queue_depth(1, 1)")
    forget_worker(tmp_path, 1)
    counted = "metrics.call_ended('completed', 'a')"
    seen = samples_of(said_by_worker(tmp_path, 1, counted))
    assert seen["justitia_calls_total", "a", "completed", "justitia"] == 2
    assert seen["justitia_calls_running", "justitia"] == 1
    files = set(tmp_path.iterdir())
    seen = samples_of(said_by_worker(tmp_path, 1, counted))
    assert seen["justitia_calls_total", "a", "completed", "justitia"] == 3
    assert set(tmp_path.iterdir()) == files  # there are never more of them


def test_workers_answer_in_the_other_format_too(tmp_path: Path) -> None:
    text = said_by_worker(tmp_path, 1, "metrics.identity('path')", "application/openmetrics-text; version=1.0.0")
    assert 'justitia_identity_total{policy="justitia",rule="path"} 1.0' in text
    assert text.endswith("# EOF\n")
