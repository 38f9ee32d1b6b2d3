"""The state in this process: one gateway with one worker needs no more."""

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.fairness.cost import counted_cost
from gateway.fairness.shares import SharesName, shares_named
from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.fairness.virtual_clock import MAX_COST
from gateway.ports import ApplicationRecord, Arrival, Snapshot, Standing
from gateway.stores.checks import (
    checked_cost,
    checked_counter,
    checked_incarnation,
    checked_limit,
    checked_service,
    checked_text,
    checked_time_s,
    checked_virtual_time,
    checked_weight,
)


@dataclass(slots=True)
class _Application:
    """What is kept of an open application beside its tag in the clock."""

    tenant: str
    kind: str
    parent: ApplicationId | None
    weight: Weight
    predicted_cost: KvTokenTime
    service: KvTokenTime
    arrived_at: float
    last_seen_at: float


@dataclass(slots=True)
class _Mean:
    """A running mean as a sum and a count: the same two numbers that Redis keeps."""

    num_settled: int = 0
    cost_sum: float = 0.0

    def count(self, cost: KvTokenTime) -> None:
        self.num_settled += 1
        self.cost_sum += cost

    def value(self) -> KvTokenTime | None:
        return KvTokenTime(self.cost_sum / self.num_settled) if self.num_settled else None


class MemoryStore:
    """A `gateway.ports.StateStore`. No operation awaits anything, so each is atomic on its event loop."""

    def __init__(self, shares: SharesName = "application") -> None:
        self._clock = shares_named(shares)
        self._open: dict[ApplicationId, _Application] = {}
        self._sources: dict[str, tuple[int, KvTokenTime]] = {}
        """(incarnation, counter) last reported of each engine; as many as there are engines."""
        self._mean_by_kind: defaultdict[str, _Mean] = defaultdict(_Mean)
        self._mean = _Mean()

    # --- applications -----------------------------------------------------------------------------------------------

    async def arrive(self, arrival: Arrival, now: float) -> Standing:
        now, cost, weight = checked_time_s(now), checked_cost(arrival.cost), checked_weight(arrival.weight)
        tenant_weight = checked_weight(arrival.tenant_weight)
        application_id = arrival.application_id
        for text in (application_id, arrival.tenant, arrival.kind, arrival.parent or ""):
            checked_text(text)
        application = self._open.get(application_id)
        if application is not None:
            application.last_seen_at = max(application.last_seen_at, now)
        else:
            self._clock.arrive(application_id, cost, weight, tenant=arrival.tenant, tenant_weight=tenant_weight)
            self._open[application_id] = _Application(
                tenant=arrival.tenant,
                kind=arrival.kind,
                parent=arrival.parent,
                weight=weight,
                predicted_cost=cost,
                service=KvTokenTime(0.0),
                arrived_at=now,
                last_seen_at=now,
            )
        return self._standing(application_id)

    async def revise(self, application_id: ApplicationId, cost: KvTokenTime) -> Standing | None:
        checked_text(application_id)
        cost = checked_cost(cost)
        application = self._open.get(application_id)
        if application is None:
            return None
        application.predicted_cost = cost
        self._update(application_id, application)
        return self._standing(application_id)

    async def charge(
        self, services: Mapping[ApplicationId, KvTokenTime], now: float
    ) -> Mapping[ApplicationId, Standing]:
        """A total stops at MAX_COST, so that it can always be settled."""
        for application_id in services:
            checked_text(application_id)
        checked, now = {id_: checked_cost(service) for id_, service in services.items()}, checked_time_s(now)
        return {id_: self._charged(id_, service, now) for id_, service in checked.items() if id_ in self._open}

    async def touch(self, application_ids: Collection[ApplicationId], now: float) -> None:
        now = checked_time_s(now)
        for application_id in application_ids:
            checked_text(application_id)
        for application_id in application_ids:
            application = self._open.get(application_id)
            if application is not None:
                application.last_seen_at = max(application.last_seen_at, now)

    async def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> Standing | None:
        """`predicted_cost` in the answer is still the prediction; the settled cost shows in the finish time."""
        checked_text(application_id)
        if cost is not None:
            cost = checked_cost(cost)
        return self._close(application_id, cost) if application_id in self._open else None

    async def expire(self, idle_before: float, limit: int) -> tuple[Standing, ...]:
        """Longest idle first, ties by id. O(open applications): a look at each."""
        idle_before, limit = checked_time_s(idle_before), checked_limit(limit)
        idle = ((a.last_seen_at, id_) for id_, a in self._open.items() if a.last_seen_at < idle_before)
        expired = heapq.nsmallest(limit, idle)
        return tuple(self._close(id_, self._open[id_].service or None) for _, id_ in expired)

    async def get(self, application_id: ApplicationId) -> Standing | None:
        checked_text(application_id)
        return self._standing(application_id) if application_id in self._open else None

    async def finish_times(self, application_ids: Collection[ApplicationId]) -> Mapping[ApplicationId, VirtualTime]:
        for application_id in application_ids:
            checked_text(application_id)
        return self._clock.finish_times(id_ for id_ in application_ids if id_ in self._open)

    async def snapshot(self, limit: int) -> Snapshot:
        """At most `limit` backlogged ids and `limit` open applications."""
        limit = checked_limit(limit)
        first = self._clock.first(limit)
        dues = self._clock.dues(id_ for _, id_ in first)
        return Snapshot(
            virtual_time=self._clock.virtual_time,
            backlogged=tuple(self._clock.backlogged(limit)),
            applications=tuple(self._record(id_, finish_time, dues[id_]) for finish_time, id_ in first),
        )

    # --- the clock --------------------------------------------------------------------------------------------------

    async def serve(self, service: KvTokenTime) -> VirtualTime:
        return self._clock.serve(checked_service(service))

    async def report(self, source: str, incarnation: int, counter: KvTokenTime) -> VirtualTime:
        checked_text(source)
        mark = (checked_incarnation(incarnation), checked_counter(counter))
        last = self._sources.setdefault(source, mark)
        if mark <= last:
            return self._clock.virtual_time
        self._sources[source] = mark
        is_restart = incarnation > last[0]
        return self._clock.serve(KvTokenTime(mark[1] if is_restart else mark[1] - last[1]))

    async def restore(self, virtual_time: VirtualTime) -> VirtualTime:
        return self._clock.restore(checked_virtual_time(virtual_time))

    async def mean_cost(self, kind: str) -> KvTokenTime | None:
        checked_text(kind)
        return self._mean_by_kind.get(kind, self._mean).value()

    # --- the store itself -------------------------------------------------------------------------------------------

    async def ping(self) -> None:
        """Always here."""

    async def aclose(self) -> None:
        """Nothing to hand back."""

    # --- inside -----------------------------------------------------------------------------------------------------

    def _update(self, application_id: ApplicationId, application: _Application) -> None:
        cost = counted_cost(application.predicted_cost, application.service)
        self._clock.update(application_id, cost, application.service)

    def _charged(self, application_id: ApplicationId, service: KvTokenTime, now: float) -> Standing:
        application = self._open[application_id]
        application.service = KvTokenTime(min(application.service + service, MAX_COST))
        application.last_seen_at = max(application.last_seen_at, now)
        self._update(application_id, application)
        return self._standing(application_id)

    def _close(self, application_id: ApplicationId, cost: KvTokenTime | None) -> Standing:
        if cost is not None:
            self._clock.update(application_id, cost, cost)
            self._mean_by_kind[self._open[application_id].kind].count(cost)
            self._mean.count(cost)
        last = self._standing(application_id)
        self._clock.close(application_id)
        del self._open[application_id]
        return last

    def _standing(self, application_id: ApplicationId) -> Standing:
        finish_time, due = self._clock.finish_time(application_id), self._clock.dues([application_id])[application_id]
        return Standing(self._clock.virtual_time, self._record(application_id, finish_time, due))

    def _record(self, application_id: ApplicationId, finish_time: VirtualTime, due: KvTokenTime) -> ApplicationRecord:
        application = self._open[application_id]
        return ApplicationRecord(
            application_id=application_id,
            tenant=application.tenant,
            kind=application.kind,
            parent=application.parent,
            weight=application.weight,
            predicted_cost=application.predicted_cost,
            service=application.service,
            virtual_start=self._clock.start_time(application_id),
            virtual_finish_time=finish_time,
            arrived_at=application.arrived_at,
            last_seen_at=application.last_seen_at,
            due=due,
        )
