"""Applications and their virtual clock."""

from collections.abc import Collection, Mapping
from typing import Protocol

from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.values import value


@value
class Arrival:
    """An application's first call, or its declaration."""

    application_id: ApplicationId
    tenant: str
    kind: str
    cost: KvTokenTime
    weight: Weight
    parent: ApplicationId | None = None
    tenant_weight: Weight = UNIT_WEIGHT
    """Of the tenant among tenants, where they have the shares."""


@value
class ApplicationRecord:
    """What is shared about one application. Times of day are Unix seconds, for idle closing only, never for order."""

    application_id: ApplicationId
    tenant: str
    kind: str
    parent: ApplicationId | None
    weight: Weight
    predicted_cost: KvTokenTime
    service: KvTokenTime
    """Charged so far: what the calls that have ended really held."""
    virtual_start: VirtualTime
    virtual_finish_time: VirtualTime
    arrived_at: float
    last_seen_at: float
    due: KvTokenTime = KvTokenTime(0.0)
    """What it would have had by then if the ideal server had served it."""


@value
class Standing:
    """One application and the clock, read in the same instant."""

    virtual_time: VirtualTime
    application: ApplicationRecord


@value
class Snapshot:
    """The shared state: the clock, who is unfinished in GPS (in order of finish time, ties by id), and who is open.

    Where tenants have the shares, of the unfinished those that are open: of a closed one only its tenant knows."""

    virtual_time: VirtualTime
    backlogged: tuple[ApplicationId, ...]
    applications: tuple[ApplicationRecord, ...]
    """Open applications in order of (virtual finish time, id)."""


class StateStore(Protocol):
    """Applications and their virtual clock, shared by every gateway that uses the same store.

    Every operation is atomic. All raise `gateway.errors.StoreUnavailable` when the store cannot be reached in time.
    Operations on an unknown application answer None: a flushed store loses order, never a call.
    `now` is Unix seconds from the caller's clock; the store takes the latest it has seen, so skewed or backward
    clocks can delay an idle closing but never move virtual time.
    """

    async def arrive(self, arrival: Arrival, now: float) -> Standing:
        """Open the application: start S = V (or its old finish time, if its id closed while still unfinished in
        GPS), finish F = S + cost/weight. For an id that is open already: no change but `last_seen_at`."""
        ...

    async def serve(self, service: KvTokenTime) -> VirtualTime:
        """Advance the clock by service delivered (>= 0)."""
        ...

    async def report(self, source: str, incarnation: int, counter: KvTokenTime) -> VirtualTime:
        """Advance the clock by what `source`'s monotone counter grew since anybody's last report of it.

        A larger `incarnation` is a restart: the counter counts from zero. A smaller one, or a counter that is not
        larger, is a late or repeated report and changes nothing.
        The first report of a source only sets the mark to count from: nobody knows how much of it was counted before.
        """
        ...

    async def revise(self, application_id: ApplicationId, cost: KvTokenTime) -> Standing | None:
        """A new estimate of the total cost: F = S + cost/weight, for the cost that `counted_cost` (`fairness`) says."""
        ...

    async def charge(
        self, services: Mapping[ApplicationId, KvTokenTime], now: float
    ) -> Mapping[ApplicationId, Standing]:
        """Add what ended calls really cost to each application's `service`. V stays; F moves if an application has
        had more than was predicted (`fairness.cost.counted_cost`). One after the other, and none if a value is
        refused; answers for those that are known."""
        ...

    async def touch(self, application_ids: Collection[ApplicationId], now: float) -> None:
        """These applications are alive: they have calls waiting or running."""
        ...

    async def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> Standing | None:
        """The application is finished. With `cost` (measured), settle: F = S + cost/weight, and count it into the
        running mean of its kind. It stays backlogged while F > V. Answers its last standing."""
        ...

    async def expire(self, idle_before: float, limit: int) -> tuple[Standing, ...]:
        """Close, settled at their charged `service`, at most `limit` applications last seen before `idle_before`.
        One that was never charged keeps its prediction and is not counted into the mean of its kind."""
        ...

    async def mean_cost(self, kind: str) -> KvTokenTime | None:
        """Running mean of the settled cost of this kind's closed applications, else of all, else None."""
        ...

    async def restore(self, virtual_time: VirtualTime) -> VirtualTime:
        """Raise the clock to at least this reading: what a gateway last saw, after a store lost its memory."""
        ...

    async def get(self, application_id: ApplicationId) -> Standing | None: ...

    async def finish_times(self, application_ids: Collection[ApplicationId]) -> Mapping[ApplicationId, VirtualTime]:
        """F as it stands now, of those that are open. Where tenants have the shares, a tenant's other applications can
        have moved it since the last standing; where applications have them, nothing but their own events does."""
        ...

    async def snapshot(self, limit: int) -> Snapshot: ...

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...
