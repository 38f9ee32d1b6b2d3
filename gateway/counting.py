"""Series by their labels, and what calls count: noted on their way, counted in a row some moments later.

To count takes the client library a lock or two and a search for the bucket: in a row that is cheap, in the middle of
other work it is not. Who reads the registry finds everything counted.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import Metric as Collected

Metric = TypeVar("Metric", Counter, Gauge, Histogram)


class Family(Generic[Metric]):
    """One metric's series by their labels, all under one policy. Each is looked up once: the client library takes a
    lock and makes strings for it, several times for every call."""

    def __init__(self, metric: Metric, policy: str) -> None:
        self._metric: Metric = metric
        self._policy = policy
        self._series: dict[tuple[str, ...], Metric] = {}
        self._counts: dict[tuple[str, ...], Callable[[float], None]] = {}

    def of(self, *labels: str) -> Metric:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self._metric.labels(self._policy, *labels)
        return series

    def count(self, labels: tuple[str, ...], amount: float) -> None:
        """By so much, or that so much was observed."""
        count = self._counts.get(labels)
        if count is None:
            series = self.of(*labels)
            count = self._counts[labels] = series.observe if isinstance(series, Histogram) else series.inc
        count(amount)


class NotedCounts:
    def __init__(self) -> None:
        self._noted: list[tuple[Family[Counter] | Family[Histogram], tuple[str, ...], float]] = []
        self.append = self._noted.append
        """(a family, labels without the policy, by how much or what was observed). Whoever does sees to it that `count`
        is called."""

    def count(self) -> None:
        noted = self._noted.copy()
        self._noted.clear()
        for family, labels, amount in noted:
            family.count(labels, amount)


class NotingRegistry(CollectorRegistry):
    def __init__(self, noted: NotedCounts) -> None:
        super().__init__()
        self._noted = noted

    def collect(self) -> Iterable[Collected]:
        self._noted.count()
        return super().collect()
