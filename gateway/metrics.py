"""What can be seen from outside, as Prometheus series. Names are the contract's, units are base units.

Every label is of a closed set: kinds of application pass a KindRegistry, everything else is an enum, a setting or a
name of ours. No application id, key or model of a client's choosing is ever a label.

Of several workers (gateway.workers) any may be asked, and each answers for all: they count in files of one folder, each
under its number, and whoever is asked adds them up. A gauge says what "up" is for it (`Merge`).
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.counting import Family, NotedCounts, NotingRegistry
from gateway.identity import KindRegistry
from gateway.ports import EngineState, Prediction
from gateway.process_reading import ProcessReading
from gateway.scheduling.fairness_watch import FairnessReading
from gateway.scheduling.model import Hold, Refusal

# From one step of an engine to the longest wait that settings allow by default; factors of about 2.5.
_WAIT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0)
_COMPLETION_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
_STORE_S = (0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5)
_LOOP_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RELATIVE_ERROR = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 100.0)


Merge = Literal["livesum", "livemin", "livemax", "livemostrecent"]
"""How the living workers' gauges become one. Of a thing that all of them look at, the freshest look counts."""

STORE_OPERATIONS = (
    "arrive", "revise", "charge", "close", "get", "mean_cost", "report", "restore", "touch", "expire", "snapshot",
)  # fmt: skip
"""Shown from the start, so that the first failure of one is a rise."""
ENGINE_MODES = ("patched", "priority", "unordered")

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the client library's own
_WORKER = "_JUSTITIA_WORKER"


def share_metrics(folder: Path, worker: int) -> None:
    """Before any Metrics is made: this process is one of several that count in `folder`, the only one with this number.

    Files are named by the number and not by the process: whoever replaces a worker counts on where that one ended,
    and there are never more of them.
    """
    os.environ[_FOLDER] = str(folder)
    os.environ[_WORKER] = str(worker)
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


def forget_worker(folder: Path, worker: int) -> None:
    """It has ended: its gauges are true no more, its counters stay."""
    mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call]


def remove_worker(folder: Path, worker: int) -> None:
    """It ends and nobody will ask again: its files go, and with the last worker's the folder."""
    for file in folder.glob(f"*_{worker}.db"):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


class Metrics:
    """All of this gateway's series, in a registry of their own."""

    def __init__(self, policy: str, kinds: KindRegistry | None = None) -> None:
        self._noted = NotedCounts()
        self.registry = NotingRegistry(self._noted)
        worker = os.environ.get(_WORKER)
        self.is_shared = worker is not None
        """Answers for several processes, from their files."""
        self._is_first = worker in (None, "1")
        self._policy = policy
        self._kinds = kinds or KindRegistry()
        self._counted_cpu_s = 0.0
        self._declare_calls()
        self._declare_applications()
        self._declare_fairness()
        self._declare_engines()
        self._declare_store()
        self._declare_process()

    def _declare_calls(self) -> None:
        self._calls = self._counter("calls", "Calls by how they ended.", "outcome", "application_kind")
        self._queue_s = self._histogram("call_queue_seconds", "Wait for dispatch.", _WAIT_S, "application_kind")
        self._ttft_s = self._histogram(
            "call_time_to_first_token_seconds", "From a call's arrival to its first byte.", _WAIT_S, "application_kind"
        )
        self._overhead_s = self._histogram("gateway_overhead_seconds", "Own time per call, no waiting.", _OVERHEAD_S)
        self._queued = self._gauge("calls_queued", "Calls waiting in this gateway.", "livesum")
        self._held = self._gauge("calls_held", "Calls waiting in this gateway, by what holds them.", "livesum", "hold")
        self._running = self._gauge("calls_running", "Calls of this gateway dispatched and not ended.", "livesum")
        self._oldest_wait_s = self._gauge(
            "call_oldest_wait_seconds", "How long the first of the waiting calls has waited; 0: none waits.", "livemax"
        )
        self._max_queued = self._gauge("calls_queued_limit", "More waiting calls are refused (queue_full).", "livesum")
        self._refusals = self._counter("refusals", "Calls that the gateway itself ended, by why.", "reason")
        for reason in Refusal:
            self._refusals.of(reason)
        self._strangers = self._counter("unauthenticated_calls", "Requests refused for want of a valid API key.")
        self._strangers.of()
        self._tokens = self._counter("tokens", "Of ended calls, as their engines counted them.", "direction")
        for direction in ("prompt", "completion"):
            self._tokens.of(direction)
        self._identity = self._counter("identity", "Calls by the rule that named their application.", "rule")

    def _declare_applications(self) -> None:
        self._jct_s = self._histogram(
            "application_completion_seconds", "From first call to last end.", _COMPLETION_S, "application_kind"
        )
        self._error = self._histogram(
            "prediction_relative_error", "|predicted - true| / true cost.", _RELATIVE_ERROR, "application_kind"
        )
        self._interval = self._counter(
            "prediction_interval", "Closed applications by where their cost lay: four in five should be within.",
            "application_kind", "cost",
        )  # fmt: skip
        self._drift = self._gauge(
            "prediction_drift_ratio",
            "Recent error of the trained predictor against its error when it was trained.",
            "livemostrecent",
        )
        self._predictor = self._gauge("predictor_in_use", "1 for what predicts costs now.", "livemax", "predictor")

    def _declare_fairness(self) -> None:
        self._backlogged = self._gauge("applications_backlogged", "Unfinished in GPS.", "livemostrecent")
        self._virtual_time = self._gauge(
            "virtual_time_kv_token_iterations", "The clock, in token-iterations per unit weight.", "livemostrecent"
        )
        self._lag = self._gauge(
            "application_lag_kv_token_iterations",
            "Largest lag: GPS service minus real service, of any application.",
            "livemostrecent",
        )
        self._spread = self._gauge(
            "virtual_start_spread_kv_token_iterations",
            "Largest less smallest virtual start S of the applications unfinished in GPS or with calls here, per unit "
            "weight. Fair: near virtual_cost_max; somebody starves: it grows on and on.",
            "livemax",
        )
        self._virtual_cost = self._gauge(
            "virtual_cost_max_kv_token_iterations", "Largest C / w = F - S of the same, per unit weight.", "livemax"
        )
        self._lateness = self._gauge(
            "application_lateness_kv_token_iterations",
            "Service delivered to everybody since GPS finished the latest of the applications that still have calls "
            "here, counted anew for each of its stages.",
            "livemax",
        )
        self._lateness_bound = self._gauge(
            "application_lateness_bound_kv_token_iterations",
            "2 M D, which no lateness should pass under policy justitia: M the KV tokens of the engines that answer, D "
            "the longest answer (tokens, so iterations) of the last quarter to half of an hour. Exact for exact costs.",
            "livemax",
        )
        self._class_service = self._counter(
            "tenant_service_kv_token_iterations", "Service charged to applications, by class.", "tenant_class"
        )
        self._class_weight = self._gauge(
            "backlogged_weight", "Units of weight of the backlogged, by tenants' class.", "livemostrecent",
            "tenant_class",
        )  # fmt: skip
        self._class_waiting = self._gauge(
            "tenant_calls_queued", "Calls waiting, by their tenants' class.", "livesum", "tenant_class"
        )

    def _declare_engines(self) -> None:
        self._service = self._counter("service_kv_token_iterations", "Service delivered.", "engine")
        self._engine_up = self._gauge("engine_up", "1 if the engine answers.", "livemin", "engine")
        self._kv_usage = self._gauge(
            "engine_kv_usage_ratio", "Share of the KV memory in use.", "livemostrecent", "engine"
        )
        self._kv_capacity = self._gauge(
            "engine_kv_capacity_tokens", "KV memory, in tokens.", "livemostrecent", "engine"
        )
        self._engine_calls = self._gauge(
            "engine_calls", "Everybody's calls in the engine: running, or waiting for memory.", "livemostrecent",
            "engine", "status",
        )  # fmt: skip
        self._preemptions = self._counter("engine_preemptions", "Running calls stopped for memory.", "engine")
        self._passed = self._counter("engine_passed_calls", "Calls that went past one that did not fit.", "engine")
        self._engine_mode = self._gauge(
            "engine_mode", "1 for how far it follows the order; all 0: it does not answer.", "livemax", "engine", "mode"
        )

    def _declare_store(self) -> None:
        self._store_s = self._histogram("store_operation_seconds", "One store operation.", _STORE_S, "operation")
        self._store_errors = self._counter("store_errors", "Store operations that failed.", "operation")
        for operation in STORE_OPERATIONS:
            self._store_errors.of(operation)
        self._store_up = self._gauge("store_up", "1 if the state store answered last.", "livemin")
        self.store_up(True)

    def _declare_process(self) -> None:
        self._loop_lag_s = self._histogram(
            "event_loop_lag_seconds", "How late the event loop is, looked at ten times a second.", _LOOP_LAG_S
        )
        self._build = self._gauge("build_info", "1 for the version that runs.", "livemax", "version")
        self._workers = self._gauge("workers", "Processes behind this address.", "livesum")
        self._workers.of().set(1)
        self._started_at = self._gauge("process_start_time_seconds", "When the oldest worker started.", "livemin")
        self._memory = self._gauge("process_resident_memory_bytes", "Of all workers.", "livesum")
        self._cpu_s = self._counter("process_cpu_seconds", "User and system time, of all workers.")
        self._spans = self._counter("spans", "Of traces, by what became of them.", "result")
        for result in ("sent", "dropped"):
            self._spans.of(result)
        self._files = self._gauge("process_open_files", "Sockets too, of the worker that has most.", "livemax")
        self._max_files = self._gauge("process_max_files", "More a worker may not open.", "livemin")

    # --- calls ---

    def call_dispatched(self, queue_s: float, kind: str) -> None:
        self._noted.append((self._queue_s, (self._kinds.label(kind),), queue_s))

    def first_token(self, ttft_s: float, kind: str) -> None:
        self._noted.append((self._ttft_s, (self._kinds.label(kind),), ttft_s))

    def call_ended(self, outcome: str, kind: str) -> None:
        self._noted.append((self._calls, (outcome, self._kinds.label(kind)), 1))

    def overhead(self, overhead_s: float) -> None:
        self._noted.append((self._overhead_s, (), overhead_s))

    def queue_depth(self, waiting: int, running: int) -> None:
        self._queued.of().set(waiting)
        self._running.of().set(running)

    def calls_held(self, num_held: Mapping[Hold, int]) -> None:
        for hold, num_calls in num_held.items():
            self._held.of(hold).set(num_calls)

    def oldest_wait(self, waited_s: float) -> None:
        self._oldest_wait_s.of().set(waited_s)

    def queue_limit(self, max_calls: int) -> None:
        self._max_queued.of().set(max_calls)

    def refused(self, refusal: Refusal) -> None:
        self._refusals.of(refusal).inc()

    def unauthenticated(self) -> None:
        self._strangers.of().inc()

    def tokens(self, prompt: int, completion: int) -> None:
        self._tokens.of("prompt").inc(prompt)
        self._tokens.of("completion").inc(completion)

    def identity(self, rule: str) -> None:
        self._noted.append((self._identity, (rule,), 1))

    # --- applications ---

    def application_closed(self, jct_s: float, kind: str) -> None:
        self._jct_s.of(self._kinds.label(kind)).observe(jct_s)

    def prediction(self, prediction: Prediction, cost: float, kind: str) -> None:
        """Of one closed application that cost `cost`, more than 0."""
        label = self._kinds.label(kind)
        self._error.of(label).observe(abs(prediction.cost - cost) / cost)
        if prediction.low is not None and prediction.high is not None:
            where = "below" if cost < prediction.low else "above" if cost > prediction.high else "within"
            self._interval.of(label, where).inc()

    def prediction_drift(self, ratio: float) -> None:
        self._drift.of().set(ratio)

    def predictor_in_use(self, name: str) -> None:
        """`trained` or `mean`."""
        for other in ("trained", "mean"):
            self._predictor.of(other).set(other == name)

    def clock(self, virtual_time: float, backlogged: int) -> None:
        self._virtual_time.of().set(virtual_time)
        self._backlogged.of().set(backlogged)

    def fairness(self, reading: FairnessReading) -> None:
        self._lag.of().set(reading.lag)
        self._spread.of().set(reading.virtual_start_spread)
        self._virtual_cost.of().set(reading.virtual_cost)
        self._lateness.of().set(reading.lateness)
        self._lateness_bound.of().set(reading.lateness_bound)
        for name, weight in reading.weight_by_class.items():
            self._class_weight.of(name).set(weight)

    def tenant_classes(self, names: Iterable[str]) -> None:
        """All there are, so that each is seen before its first call."""
        for name in names:
            self._class_service.of(name)
            self._class_waiting.of(name)

    def tenant_service(self, tenant_class: str, amount: float) -> None:
        self._class_service.of(tenant_class).inc(amount)

    def tenant_calls_queued(self, by_class: Mapping[str, int]) -> None:
        for name, num_calls in by_class.items():
            self._class_waiting.of(name).set(num_calls)

    # --- engines and store ---

    def service(self, engine: str, amount: float, *, is_everybodys: bool = False) -> None:
        """`is_everybodys`: from the engine's own counter, which every worker reads and the first one counts."""
        if self._is_first or not is_everybodys:
            self._service.of(engine).inc(amount)

    def engine_up(self, engine: str, up: bool) -> None:
        self._engine_up.of(engine).set(up)

    def engine_mode(self, engine: str, mode: str | None) -> None:
        """None: it does not answer."""
        for name in ENGINE_MODES:
            self._engine_mode.of(engine, name).set(name == mode)

    def engine_state(self, engine: str, state: EngineState) -> None:
        capacity = state.capacity_kv_tokens
        self._kv_usage.of(engine).set(1 - state.free_kv_tokens / max(1, capacity))
        self._kv_capacity.of(engine).set(capacity)
        self._engine_calls.of(engine, "running").set(state.num_running)
        self._engine_calls.of(engine, "waiting").set(state.num_waiting)

    def engine_counted(self, engine: str, *, preemptions: int, passed: int) -> None:
        """More of each, by the engine's own counters, which every worker reads and the first one counts."""
        if self._is_first:
            self._preemptions.of(engine).inc(preemptions)
            self._passed.of(engine).inc(passed)

    def store_operation(self, operation: str, seconds: float) -> None:
        self._store_s.of(operation).observe(seconds)

    def store_error(self, operation: str) -> None:
        self._store_errors.of(operation).inc()

    def store_up(self, up: bool) -> None:
        self._store_up.of().set(up)

    # --- the process ---

    def event_loop_lag(self, lag_s: float) -> None:
        self._loop_lag_s.of().observe(lag_s)

    def spans(self, more: int, are_sent: bool) -> None:
        self._spans.of("sent" if are_sent else "dropped").inc(more)

    def build(self, version: str) -> None:
        self._build.of(version).set(1)

    def process(self, reading: ProcessReading) -> None:
        self._started_at.of().set(reading.started_at)
        self._memory.of().set(reading.resident_bytes)
        self._cpu_s.of().inc(max(0.0, reading.cpu_s - self._counted_cpu_s))
        self._counted_cpu_s = reading.cpu_s
        self._files.of().set(reading.open_files)
        self._max_files.of().set(reading.max_files)

    # --- exposition ---

    def count(self) -> None:
        """What calls have left to be counted."""
        self._noted.count()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """(text, content type), in the format that the Accept header asks for."""
        self.count()
        encode, content_type = choose_encoder(accept)
        if not self.is_shared:
            return encode(self.registry), content_type
        everybodys = CollectorRegistry()
        MultiProcessCollector(everybodys)  # type: ignore[no-untyped-call]
        return encode(everybodys), content_type

    def _counter(self, name: str, text: str, *labels: str) -> "Family[Counter]":
        return Family(Counter(f"justitia_{name}", text, ("policy", *labels), registry=self.registry), self._policy)

    def _gauge(self, name: str, text: str, merge: Merge, *labels: str) -> "Family[Gauge]":
        gauge = Gauge(f"justitia_{name}", text, ("policy", *labels), registry=self.registry, multiprocess_mode=merge)
        return Family(gauge, self._policy)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> "Family[Histogram]":
        histogram = Histogram(f"justitia_{name}", text, ("policy", *labels), buckets=buckets, registry=self.registry)
        return Family(histogram, self._policy)
