import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.identity import KindRegistry
from gateway.metrics import Metrics, forget_worker
from gateway.ports import EngineState, Prediction
from gateway.process_reading import ProcessReading, read_process
from gateway.process_watch import watch_process
from gateway.scheduling.fairness_watch import FairnessReading
from gateway.scheduling.model import Hold, Refusal
from tests.fakes.waiting import until

CONTRACT = """
    applications_backlogged virtual_time_kv_token_iterations calls_queued calls_running calls_total
    application_completion_seconds call_queue_seconds call_time_to_first_token_seconds gateway_overhead_seconds
    service_kv_token_iterations_total application_lag_kv_token_iterations prediction_relative_error identity_total
    store_operation_seconds store_errors_total engine_up engine_kv_usage_ratio prediction_interval_total
    prediction_drift_ratio predictor_in_use call_oldest_wait_seconds calls_queued_limit calls_held refusals_total
    tokens_total virtual_start_spread_kv_token_iterations virtual_cost_max_kv_token_iterations
    application_lateness_kv_token_iterations application_lateness_bound_kv_token_iterations
    tenant_service_kv_token_iterations_total backlogged_weight tenant_calls_queued engine_kv_capacity_tokens
    engine_calls engine_preemptions_total engine_passed_calls_total engine_mode store_up event_loop_lag_seconds
    build_info workers process_start_time_seconds process_resident_memory_bytes process_cpu_seconds_total
    process_open_files process_max_files unauthenticated_calls_total spans_total
"""

LABELS = {"policy", "application_kind", "outcome", "engine", "model", "tenant_class", "rule", "operation", "le"}
LABELS |= {"hold", "cost", "predictor", "reason", "direction", "mode", "status", "version", "result"}

STATE = EngineState(
    incarnation=1,
    service=None,
    capacity_kv_tokens=Tokens(1000),
    free_kv_tokens=Tokens(500),
    max_num_seqs=64,
    num_running=3,
    num_waiting=2,
    waiting_calls=None,
    preemptions=7,
)
FAIRNESS = FairnessReading(
    virtual_start_spread=30.0,
    virtual_cost=40.0,
    lag=5.0,
    lateness=60.0,
    lateness_bound=2000.0,
    weight_by_class={"standard": 2.0, "high": 0.5},
)
PROCESS = ProcessReading(started_at=1.8e9, resident_bytes=2**26, cpu_s=2.5, open_files=40, max_files=1024)


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
    metrics.fairness(FAIRNESS)
    metrics.tenant_classes(("standard", "high"))
    metrics.tenant_service("high", 12.5)
    metrics.tenant_calls_queued({"standard": 4, "high": 0})
    metrics.calls_held({Hold.ORDER: 3, Hold.TENANT_CAP: 0})
    metrics.oldest_wait(1.5)
    metrics.queue_limit(100)
    metrics.refused(Refusal.QUEUE_FULL)
    metrics.tokens(70, 7)
    metrics.service("host:1", 100.5)
    metrics.engine_up("host:1", True)
    metrics.engine_state("host:1", STATE)
    metrics.engine_mode("host:1", "patched")
    metrics.engine_counted("host:1", preemptions=2, passed=4)
    metrics.event_loop_lag(0.02)
    metrics.build("1.2.3")
    metrics.process(PROCESS)
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
    assert seen["justitia_engine_kv_usage_ratio", "host:1", "justitia"] == 0.5
    assert seen["justitia_engine_calls", "host:1", "justitia", "waiting"] == 2
    assert seen["justitia_engine_mode", "host:1", "justitia", "patched"] == 1
    assert seen["justitia_engine_mode", "host:1", "justitia", "unordered"] == 0
    assert seen["justitia_engine_preemptions_total", "host:1", "justitia"] == 2
    assert seen["justitia_engine_passed_calls_total", "host:1", "justitia"] == 4
    assert seen["justitia_application_lag_kv_token_iterations", "justitia"] == 5
    assert seen["justitia_application_lateness_kv_token_iterations", "justitia"] == 60
    assert seen["justitia_application_lateness_bound_kv_token_iterations", "justitia"] == 2000
    assert seen["justitia_virtual_start_spread_kv_token_iterations", "justitia"] == 30
    assert seen["justitia_virtual_cost_max_kv_token_iterations", "justitia"] == 40
    assert seen["justitia_backlogged_weight", "justitia", "standard"] == 2
    assert seen["justitia_tenant_service_kv_token_iterations_total", "high", "justitia"] == 12.5
    assert seen["justitia_tenant_calls_queued", "justitia", "standard"] == 4
    assert seen["justitia_calls_held", "justitia", "order"] == 3
    assert seen["justitia_call_oldest_wait_seconds", "justitia"] == 1.5
    assert seen["justitia_tokens_total", "completion", "justitia"] == 7
    assert seen["justitia_process_open_files", "justitia"] == 40


def test_what_may_stay_away_is_seen_before_it_comes() -> None:
    """A rate needs a first value: the first refusal must not be the one that nobody sees."""
    seen = samples(Metrics("justitia"))
    for reason in Refusal:
        assert seen["justitia_refusals_total", *sorted(("justitia", reason))] == 0
    assert seen["justitia_store_up", "justitia"] == 1
    assert seen["justitia_tokens_total", "justitia", "prompt"] == 0


def test_the_engines_mode_is_none_while_it_is_down() -> None:
    metrics = with_everything_counted()
    metrics.engine_mode("host:1", None)
    assert {value for key, value in samples(metrics).items() if key[0] == "justitia_engine_mode"} == {0}


def test_the_processs_time_is_counted_once() -> None:
    metrics = with_everything_counted()
    metrics.process(replace(PROCESS, cpu_s=3.0))
    assert samples(metrics)["justitia_process_cpu_seconds_total", "justitia"] == 3


def test_this_process_is_read() -> None:
    reading = read_process()
    assert reading is not None
    assert 0 <= time.time() - reading.started_at < 86_400
    assert reading.resident_bytes > 2**20
    assert 3 <= reading.open_files < reading.max_files
    with Path("/dev/null").open():
        again = read_process()
        assert again is not None
        assert again.open_files == reading.open_files + 1


async def test_a_blocked_loop_is_seen() -> None:
    metrics = Metrics("justitia")
    watch = asyncio.create_task(watch_process(metrics))
    asyncio.get_running_loop().call_later(0.05, time.sleep, 0.3)

    async def is_seen() -> bool:
        return samples(metrics).get(("justitia_event_loop_lag_seconds_sum", "justitia"), 0.0) > 0.15

    await until(is_seen)
    watch.cancel()
    assert samples(metrics)["justitia_process_resident_memory_bytes", "justitia"] > 2**20


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
        "from dataclasses import replace\n"
        "from gateway.metrics import Metrics, share_metrics\n"
        "from tests.test_metrics import FAIRNESS, STATE\n"
        "state = lambda usage: replace(STATE, free_kv_tokens=round(1000 * (1 - usage)))\n"
        "fairness = lambda lag: replace(FAIRNESS, lag=lag, lateness=10 * lag)\n"
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
        "metrics.clock(200.0, 9); metrics.engine_up('e', False); metrics.engine_state('e', state(0.75))\n"
        "metrics.fairness(fairness(5.0)); metrics.store_up(False)\n"
        "metrics.engine_counted('e', preemptions=3, passed=1)\n"
        "metrics.oldest_wait(9.0)\n"
        "metrics.queue_limit(100); metrics.tenant_calls_queued({'high': 2}); metrics.tenant_service('high', 1.5)\n"
        "metrics.predictor_in_use('trained'); metrics.prediction_drift(3.0)\n"
        "metrics.service('e', 10.0, is_everybodys=True); metrics.service('stock', 1.0)",
    )  # fmt: skip
    second = (
        "metrics.call_ended('completed', 'a'); metrics.overhead(0.001); metrics.queue_depth(1, 1)\n"
        "metrics.clock(100.0, 2); metrics.engine_up('e', True); metrics.engine_state('e', state(0.25))\n"
        "metrics.fairness(fairness(4.0)); metrics.store_up(True)\n"
        "metrics.engine_counted('e', preemptions=3, passed=1)\n"
        "metrics.oldest_wait(1.0)\n"
        "metrics.queue_limit(100); metrics.tenant_calls_queued({'high': 3}); metrics.tenant_service('high', 2.0)\n"
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
    # Each sees the lateness of its own calls, and the worst of them is told.
    assert seen["justitia_application_lateness_kv_token_iterations", "justitia"] == 50
    assert seen["justitia_call_oldest_wait_seconds", "justitia"] == 9
    assert (seen["justitia_store_up", "justitia"], seen["justitia_workers", "justitia"]) == (0, 2)
    assert seen["justitia_calls_queued_limit", "justitia"] == 200
    assert seen["justitia_tenant_calls_queued", "high", "justitia"] == 5
    assert seen["justitia_tenant_service_kv_token_iterations_total", "high", "justitia"] == 3.5
    # An engine that one of them does not reach is down for a part of the calls; both predictors are in use.
    assert seen["justitia_engine_up", "e", "justitia"] == 0
    assert seen["justitia_predictor_in_use", "justitia", "trained"] == 1
    assert seen["justitia_predictor_in_use", "justitia", "mean"] == 1
    # The engine's own counter was read by both; the other engine's service is the sum of what each has seen.
    assert seen["justitia_service_kv_token_iterations_total", "e", "justitia"] == 10
    assert seen["justitia_engine_preemptions_total", "e", "justitia"] == 3
    assert seen["justitia_engine_passed_calls_total", "e", "justitia"] == 1
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
