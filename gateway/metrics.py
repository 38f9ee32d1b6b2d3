"""What can be seen from outside, as Prometheus series. Names are the contract's, units are base units.

Every label is of a closed set: kinds of application pass a KindRegistry, everything else is an enum, a setting or a
name of ours. No application id, key or model of a client's choosing is ever a label.

Of several workers (gateway.workers) any may be asked, and each answers for all: they count in files of one folder, each
under its number, and whoever is asked adds them up. A gauge says what "up" is for it (`Merge`).
"""

import contextlib
import os
from pathlib import Path
from typing import Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.identity import KindRegistry
from gateway.ports import Prediction

# From one step of an engine to the longest wait that settings allow by default; factors of about 2.5.
_WAIT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0)
_COMPLETION_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
_STORE_S = (0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5)
_RELATIVE_ERROR = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 100.0)


Metric = TypeVar("Metric", Counter, Gauge, Histogram)

Merge = Literal["livesum", "livemin", "livemax", "livemostrecent"]
"""How the living workers' gauges become one. Of a thing that all of them look at, the freshest look counts."""

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
        self.registry = CollectorRegistry()
        worker = os.environ.get(_WORKER)
        self.is_shared = worker is not None
        """Answers for several processes, from their files."""
        self._is_first = worker in (None, "1")
        self._policy = policy
        self._kinds = kinds or KindRegistry()
        self._declare_calls()
        self._declare_applications()
        self._declare_surroundings()

    def _declare_calls(self) -> None:
        self._calls = self._counter("calls", "Calls by how they ended.", "outcome", "application_kind")
        self._queue_s = self._histogram("call_queue_seconds", "Wait for dispatch.", _WAIT_S, "application_kind")
        self._ttft_s = self._histogram(
            "call_time_to_first_token_seconds", "From a call's arrival to its first byte.", _WAIT_S, "application_kind"
        )
        self._overhead_s = self._histogram("gateway_overhead_seconds", "Own time per call, no waiting.", _OVERHEAD_S)
        self._queued = self._gauge("calls_queued", "Calls waiting in this gateway.", "livesum")
        self._running = self._gauge("calls_running", "Calls of this gateway dispatched and not ended.", "livesum")
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
        self._backlogged = self._gauge("applications_backlogged", "Unfinished in GPS.", "livemostrecent")
        self._virtual_time = self._gauge(
            "virtual_time_kv_token_iterations", "The clock, in token-iterations per unit weight.", "livemostrecent"
        )
        self._lag = self._gauge(
            "application_lag_kv_token_iterations",
            "Largest lag: GPS service minus real service, of any application.",
            "livemostrecent",
        )

    def _declare_surroundings(self) -> None:
        self._service = self._counter("service_kv_token_iterations", "Service delivered.", "engine")
        self._engine_up = self._gauge("engine_up", "1 if the engine answers.", "livemin", "engine")
        self._kv_usage = self._gauge(
            "engine_kv_usage_ratio", "Share of the KV memory in use.", "livemostrecent", "engine"
        )
        self._store_s = self._histogram("store_operation_seconds", "One store operation.", _STORE_S, "operation")
        self._store_errors = self._counter("store_errors", "Store operations that failed.", "operation")

    # --- calls ---

    def call_dispatched(self, queue_s: float, kind: str) -> None:
        self._queue_s.of(self._kinds.label(kind)).observe(queue_s)

    def first_token(self, ttft_s: float, kind: str) -> None:
        self._ttft_s.of(self._kinds.label(kind)).observe(ttft_s)

    def call_ended(self, outcome: str, kind: str) -> None:
        self._calls.of(outcome, self._kinds.label(kind)).inc()

    def overhead(self, overhead_s: float) -> None:
        self._overhead_s.of().observe(overhead_s)

    def queue_depth(self, waiting: int, running: int) -> None:
        self._queued.of().set(waiting)
        self._running.of().set(running)

    def identity(self, rule: str) -> None:
        self._identity.of(rule).inc()

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

    def lag(self, max_lag: float) -> None:
        self._lag.of().set(max_lag)

    # --- engines and store ---

    def service(self, engine: str, amount: float, *, is_everybodys: bool = False) -> None:
        """`is_everybodys`: from the engine's own counter, which every worker reads and the first one counts."""
        if self._is_first or not is_everybodys:
            self._service.of(engine).inc(amount)

    def engine_up(self, engine: str, up: bool) -> None:
        self._engine_up.of(engine).set(up)

    def engine_kv_usage(self, engine: str, ratio: float) -> None:
        self._kv_usage.of(engine).set(ratio)

    def store_operation(self, operation: str, seconds: float) -> None:
        self._store_s.of(operation).observe(seconds)

    def store_error(self, operation: str) -> None:
        self._store_errors.of(operation).inc()

    # --- exposition ---

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """(text, content type), in the format that the Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        if not self.is_shared:
            return encode(self.registry), content_type
        everybodys = CollectorRegistry()
        MultiProcessCollector(everybodys)  # type: ignore[no-untyped-call]
        return encode(everybodys), content_type

    def _counter(self, name: str, text: str, *labels: str) -> "_Family[Counter]":
        return _Family(Counter(f"justitia_{name}", text, ("policy", *labels), registry=self.registry), self._policy)

    def _gauge(self, name: str, text: str, merge: Merge, *labels: str) -> "_Family[Gauge]":
        gauge = Gauge(f"justitia_{name}", text, ("policy", *labels), registry=self.registry, multiprocess_mode=merge)
        return _Family(gauge, self._policy)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> "_Family[Histogram]":
        histogram = Histogram(f"justitia_{name}", text, ("policy", *labels), buckets=buckets, registry=self.registry)
        return _Family(histogram, self._policy)


class _Family(Generic[Metric]):
    """One metric's series by their labels, all under one policy. Each is looked up once: the client library takes a
    lock and makes strings for it, several times for every call."""

    def __init__(self, metric: Metric, policy: str) -> None:
        self._metric: Metric = metric
        self._policy = policy
        self._series: dict[tuple[str, ...], Metric] = {}

    def of(self, *labels: str) -> Metric:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self._metric.labels(self._policy, *labels)
        return series
