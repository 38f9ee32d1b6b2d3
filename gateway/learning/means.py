"""Running means of what applications of a kind have cost. Pure; bounded, because kinds are."""

import math

from gateway.fairness.units import KvTokenTime


class RunningMeans:
    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, float]] = {}

    def note(self, kind: str, cost: KvTokenTime) -> None:
        count, total = self._sums.get(kind, (0, 0.0))
        self._sums[kind] = count + 1, total + cost

    def of_kind(self, kind: str) -> KvTokenTime | None:
        if kind not in self._sums:
            return None
        count, total = self._sums[kind]
        return KvTokenTime(total / count)

    def of_all(self) -> KvTokenTime | None:
        if not self._sums:
            return None
        counts, totals = zip(*self._sums.values(), strict=True)
        return KvTokenTime(math.fsum(totals) / sum(counts))
