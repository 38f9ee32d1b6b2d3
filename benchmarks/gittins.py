"""The most that knowing the kind alone can be worth: the Gittins index of its costs.

Of an application that has had service a, and whose cost is one of the costs x > a of its kind's runs, the least service
to be expected for each completion that it brings:

    min over Δ of  E[min(x − a, Δ)] / P(x − a ≤ Δ)

Whoever goes by the smallest first has the smallest mean completion time on one server that learns nothing but how much
it has served (in an M/G/1 queue; Aalto, Ayesta and Righter, Queueing Systems 2009). An engine is not that server, so
this is a yardstick and no limit; but an order that knows the kind alone and comes near exact costs is not to be hoped
for where this does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.fairness.units import KvTokenTime
from gateway.ports import Progress
from gateway.replay.costs import oracle
from gateway.workloads.traces import RecordedApplication


@dataclass(frozen=True, slots=True)
class KindsCosts:
    """What the runs of one kind cost, rising, the application's own among them."""

    costs: NDArray[np.float64]

    @property
    def cost(self) -> KvTokenTime:
        return self._total(0.0)

    def refined(self, progress: Progress) -> KvTokenTime:
        return self._total(progress.service)

    def _total(self, service: float) -> KvTokenTime:
        return KvTokenTime(service + index(self.costs, service))


def index(costs: NDArray[np.float64], service: float) -> float:
    """In token·iterations; `costs` rising. 0 where none is above `service`."""
    left = costs[np.searchsorted(costs, service, side="right") :] - service
    if not len(left):
        return 0.0
    num_completed = np.arange(1, len(left) + 1)
    served = np.cumsum(left) + (len(left) - num_completed) * left
    return float((served / num_completed).min())


def by_kind(recorded: Sequence[RecordedApplication]) -> dict[RecordedApplication, KindsCosts]:
    """Of every application, what its kind tells of it."""
    costs: dict[str, list[float]] = {}
    for application, cost in zip(recorded, oracle(recorded), strict=True):
        costs.setdefault(application.kind, []).append(cost)
    kinds = {kind: KindsCosts(np.sort(np.array(those))) for kind, those in costs.items()}
    return {application: kinds[application.kind] for application in recorded}
