"""What clients say and ask about applications beside their calls: declare one, see where it stands, close it."""

from collections.abc import Callable
from dataclasses import replace

from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens, Weight
from gateway.identity import Identity, KindRegistry
from gateway.ports import ApplicationRecord, Arrival, FirstCall, Snapshot
from gateway.scheduling.applications import Applications
from gateway.scheduling.describe import Here, describe_all
from gateway.scheduling.model import ApplicationDescription, CallRequest
from gateway.scheduling.tenant_room import TermsOf

ExpectedWait = Callable[[ApplicationId], float | None]
"""Seconds until the next of an application's waiting calls is dispatched, if any waits and there is a pace."""

_SETTLING_S = 2.0
"""How long a close waits for the engine's record of calls that have ended: some readings."""


class ApplicationDesk:
    """`counts`: an application's (waiting, running) calls here; `service_rate`: all engines', token·iterations/s;
    `expected_wait_s`: of the next of an application's waiting calls; `caps_weights`: whether a declared weight counts
    only up to its tenant's."""

    def __init__(
        self,
        applications: Applications,
        kinds: KindRegistry,
        counts: Callable[[ApplicationId], tuple[int, int]],
        service_rate: Callable[[], float],
        expected_wait_s: ExpectedWait,
        terms_of: TermsOf,
        caps_weights: Callable[[], bool],
    ) -> None:
        self._applications = applications
        self._kinds = kinds
        self._counts = counts
        self._service_rate = service_rate
        self._expected_wait_s = expected_wait_s
        self._terms_of = terms_of
        self._caps_weights = caps_weights

    async def declare(
        self, identity: Identity, *, weight: int | None, expected_cost: float | None
    ) -> ApplicationDescription:
        """Opened if it is not open; what was said when it was opened stays. Where tenants have keys, a weight above
        the tenant's counts as the tenant's: nobody takes a larger share than they were given by asking for it."""
        cost = None if expected_cost is None else KvTokenTime(expected_cost)
        of_tenant = self._terms_of(identity.tenant).weight
        arrival = arrival_of(identity, self._kinds, cost, self._weight(of_tenant, weight), of_tenant)
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

    async def look(self, expected_wait_s: ExpectedWait) -> tuple[Snapshot, tuple[ApplicationDescription, ...]]:
        """The shared state, and everybody in it; for who has a cheaper way to tell all waits at once."""
        snapshot = await self._applications.snapshot()
        return snapshot, self._describe_all(snapshot, expected_wait_s)

    def _describe_all(
        self, snapshot: Snapshot, expected_wait_s: ExpectedWait | None = None
    ) -> tuple[ApplicationDescription, ...]:
        wait_s = expected_wait_s or self._expected_wait_s
        return describe_all(snapshot, lambda application_id: self._here(application_id, wait_s), self._service_rate())

    def _here(self, application_id: ApplicationId, expected_wait_s: ExpectedWait) -> Here:
        waiting, running = self._counts(application_id)
        local = self._applications.get(application_id)
        return Here(
            unsent_service=self._applications.unsent_service(application_id),
            calls_waiting=waiting,
            calls_running=running,
            expected_wait_s=expected_wait_s(application_id),
            num_calls=local.num_ended if local is not None else 0,
            prompt_tokens=Tokens(local.prompt_tokens if local is not None else 0),
            completion_tokens=Tokens(local.completion_tokens if local is not None else 0),
        )

    def _weight(self, of_tenant: Weight, declared: int | None) -> Weight:
        if declared is None:
            return of_tenant
        return Weight(min(declared, of_tenant) if self._caps_weights() else declared)

    async def close(self, application_id: ApplicationId) -> ApplicationRecord:
        """Its last record: with its measured cost, unless calls of it still run. Raises ApplicationClosed too."""
        is_busy = any(self._counts(application_id))
        return await self._applications.close(application_id, 0.0 if is_busy else _SETTLING_S)


def first_call_of(request: CallRequest, kind: str, prompt_tokens: Tokens) -> FirstCall:
    """What its application's cost is predicted from."""
    return FirstCall(
        kind=kind,
        tenant=request.identity.tenant,
        model=request.model,
        prompt_tokens=prompt_tokens,
        max_tokens=request.max_tokens,
        text=request.text,
        num_tools=request.num_tools,
    )


def arrival_of(
    identity: Identity, kinds: KindRegistry, cost: KvTokenTime | None, weight: Weight, tenant_weight: Weight
) -> Arrival:
    """Children are charged to their root. Kinds are what clients say, so they are bounded here."""
    return Arrival(
        application_id=identity.root,
        tenant=identity.tenant,
        kind=kinds.label(identity.kind),
        cost=KvTokenTime(0.0) if cost is None else cost,
        weight=weight,
        parent=identity.parent if identity.root == identity.application_id else None,
        tenant_weight=tenant_weight,
    )
