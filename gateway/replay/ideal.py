"""When the fluid server would have finished: `gateway.fairness.gps` for traces that are too long for exact fractions.

In floats and by virtual time, O(log n) an event. Tests hold it against the exact one.
"""

import heapq
from collections.abc import Iterable

from gateway.fairness.gps import FluidArrival
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId


def ideal_finishes(arrivals: Iterable[FluidArrival]) -> dict[ApplicationId, float]:
    """Service offered (token·iterations since the beginning) when each has been served in full."""
    finishes: dict[ApplicationId, float] = {}
    unfinished: list[tuple[float, ApplicationId, float]] = []
    """A heap of (virtual finish time, id, weight)."""
    now = virtual_time = weights = 0.0

    def serve_until(end: float) -> None:
        nonlocal now, virtual_time, weights
        while unfinished:
            finish, application_id, weight = unfinished[0]
            needed = (finish - virtual_time) * weights
            if now + needed > end:
                virtual_time += (end - now) / weights
                break
            now, virtual_time = now + needed, finish
            heapq.heappop(unfinished)
            weights = weights - weight if unfinished else 0.0
            finishes[application_id] = now
        now = max(now, end)

    for arrival in sorted(arrivals, key=lambda one: (one.at, one.application_id)):
        serve_until(float(arrival.at))
        weight = arrival.weight / UNIT_WEIGHT
        heapq.heappush(unfinished, (virtual_time + float(arrival.cost) / weight, arrival.application_id, weight))
        weights += weight
    while unfinished:
        serve_until(now + (unfinished[0][0] - virtual_time) * weights)
    return finishes
