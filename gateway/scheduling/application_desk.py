"""What clients say and ask about applications beside their calls: declare one, see where it stands, close it."""

from collections.abc import Callable
from dataclasses import replace

from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Tokens, Weight
from gateway.identity import Identity, KindRegistry
from gateway.ports import ApplicationRecord, Arrival, FirstCall, Snapshot
from gateway.scheduling.applications import Applications
from gateway.scheduling.describe import describe_all
from gateway.scheduling.model import ApplicationDescription

_SETTLING_S = 2.0
"""How long a close waits for the engine's record of calls that have ended: some readings."""


class ApplicationDesk:
    """`counts`: an application's (waiting, running) calls here; `service_rate`: all engines', token·iterations/s."""

    def __init__(
        self,
        applications: Applications,
        kinds: KindRegistry,
        counts: Callable[[ApplicationId], tuple[int, int]],
        service_rate: Callable[[], float],
    ) -> None:
        self._applications = applications
        self._kinds = kinds
        self._counts = counts
        self._service_rate = service_rate

    async def declare(
        self, identity: Identity, *, weight: int | None, expected_cost: float | None
    ) -> ApplicationDescription:
        """Opened if it is not open; what was said when it was opened stays."""
        cost = None if expected_cost is None else KvTokenTime(expected_cost)
        arrival = arrival_of(identity, self._kinds, cost, UNIT_WEIGHT if weight is None else Weight(weight))
        first_call = FirstCall(arrival.kind, arrival.tenant, "", Tokens(0), None)
        local = await self._applications.open(arrival, first_call, cost is not None)
        return await self.describe(local.record.application_id)

    async def describe(self, application_id: ApplicationId) -> ApplicationDescription:
        """Raises ApplicationNotFound, and StoreUnavailable for one that is not known here."""
        snapshot = await self._applications.snapshot()
        if all(record.application_id != application_id for record in snapshot.applications):
            # Beyond what a listing shows: after all of those.
            record = await self._applications.record(application_id)
            snapshot = replace(snapshot, applications=(*snapshot.applications, record))
        return next(d for d in self._describe_all(snapshot) if d.application_id == application_id)

    async def list_all(self) -> tuple[ApplicationDescription, ...]:
        """In order of virtual finish time, everybody's."""
        return self._describe_all(await self._applications.snapshot())

    def _describe_all(self, snapshot: Snapshot) -> tuple[ApplicationDescription, ...]:
        return describe_all(snapshot, self._applications.unsent_service, self._counts, self._service_rate())

    async def close(self, application_id: ApplicationId) -> ApplicationRecord:
        """Its last record: with its measured cost, unless calls of it still run. Raises ApplicationClosed too."""
        is_busy = any(self._counts(application_id))
        return await self._applications.close(application_id, 0.0 if is_busy else _SETTLING_S)


def arrival_of(identity: Identity, kinds: KindRegistry, cost: KvTokenTime | None, weight: Weight) -> Arrival:
    """Children are charged to their root. Kinds are what clients say, so they are bounded here."""
    return Arrival(
        application_id=identity.root,
        tenant=identity.tenant,
        kind=kinds.label(identity.kind),
        cost=KvTokenTime(0.0) if cost is None else cost,
        weight=weight,
        parent=identity.parent if identity.root == identity.application_id else None,
    )
