"""Who has a share: every application, or every tenant. Two clocks behind one type."""

from collections.abc import Iterable
from heapq import nsmallest
from typing import Final, Literal, Protocol, get_args

from gateway.fairness.tenant_clock import TenantClock
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.fairness.virtual_clock import VirtualClock

SharesName = Literal["application", "tenant"]

SHARES_NAMES: Final[tuple[SharesName, ...]] = get_args(SharesName)


class Shares(Protocol):
    """Open applications on a virtual clock. Unknown ids raise UnknownApplication, impossible numbers ValueError."""

    @property
    def virtual_time(self) -> VirtualTime: ...

    def arrive(
        self, application_id: ApplicationId, cost: KvTokenTime, weight: Weight, *, tenant: str, tenant_weight: Weight
    ) -> VirtualTime:
        """Open an application and answer its F; for one that is open its F as it is."""
        ...

    def update(self, application_id: ApplicationId, cost: KvTokenTime, service: KvTokenTime) -> VirtualTime:
        """The cost that it goes by now (`fairness.cost.counted_cost`), and what it has had of it."""
        ...

    def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> VirtualTime: ...

    def serve(self, service: KvTokenTime) -> VirtualTime: ...

    def restore(self, virtual_time: VirtualTime) -> VirtualTime: ...

    def start_time(self, application_id: ApplicationId) -> VirtualTime: ...

    def finish_time(self, application_id: ApplicationId) -> VirtualTime: ...

    def finish_times(self, application_ids: Iterable[ApplicationId]) -> dict[ApplicationId, VirtualTime]:
        """Of those that are known."""
        ...

    def first(self, limit: int) -> list[tuple[VirtualTime, ApplicationId]]:
        """(F, id) of the open ones, so many of them, in this order."""
        ...

    def backlogged(self, limit: int) -> list[ApplicationId]:
        """With F > V, in order of (F, id), so many of them."""
        ...

    def dues(self, application_ids: Iterable[ApplicationId]) -> dict[ApplicationId, KvTokenTime]:
        """What each would have had by now if the ideal server had served it, of those that are known."""
        ...


class ApplicationClock(VirtualClock):
    """A share for each application, whose tenants do not matter. Nobody's F depends on another's."""

    def arrive(
        self,
        application_id: ApplicationId,
        cost: KvTokenTime,
        weight: Weight = UNIT_WEIGHT,
        *,
        tenant: str = "",
        tenant_weight: Weight = UNIT_WEIGHT,
    ) -> VirtualTime:
        return super().arrive(application_id, cost, weight)

    def update(self, application_id: ApplicationId, cost: KvTokenTime, service: KvTokenTime) -> VirtualTime:
        return self.revise(application_id, cost)

    def finish_times(self, application_ids: Iterable[ApplicationId]) -> dict[ApplicationId, VirtualTime]:
        return {id_: self.finish_time(id_) for id_ in application_ids if id_ in self._tags}

    def first(self, limit: int) -> list[tuple[VirtualTime, ApplicationId]]:
        # Those that GPS has served in full come before all others.
        served = ((tag.finish, id_) for id_, tag in self._tags.items() if tag.is_open and not tag.is_backlogged)
        found = nsmallest(limit, served)
        for application_id in self._departing():
            if len(found) >= limit:
                break
            if self.is_open(application_id):
                found.append((self.finish_time(application_id), application_id))
        return found

    def dues(self, application_ids: Iterable[ApplicationId]) -> dict[ApplicationId, KvTokenTime]:
        tags = {id_: self._tags[id_] for id_ in application_ids if id_ in self._tags}
        return {id_: due(self.virtual_time, tag.start, tag.finish, tag.weight) for id_, tag in tags.items()}


def due(virtual_time: VirtualTime, start: VirtualTime, finish: VirtualTime, weight: Weight) -> KvTokenTime:
    """What the ideal server has given by now to one with a share of its own between these two virtual times."""
    return KvTokenTime(max(0.0, min(virtual_time, finish) - start) * weight / 1000)


def shares_named(name: SharesName) -> Shares:
    return TenantClock() if name == "tenant" else ApplicationClock()
