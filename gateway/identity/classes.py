"""Classes of tenants, by weight: few enough to be told apart in a metric, where tenants themselves must not be."""

from bisect import bisect_right
from collections.abc import Mapping

from gateway.fairness.units import Weight

MAX_CLASSES = 8
"""Each is a label of several series."""


class TenantClasses:
    """`least_weights`: by class, the smallest weight (thousandths) of its tenants. Who weighs less than all of them is
    of the lowest."""

    def __init__(self, least_weights: Mapping[str, int]) -> None:
        by_weight = sorted((least, name) for name, least in least_weights.items())
        self.names = tuple(name for _, name in by_weight)
        """Lightest first."""
        self._least = [least for least, _ in by_weight]

    def of(self, weight: Weight) -> str:
        return self.names[max(0, bisect_right(self._least, weight) - 1)]
