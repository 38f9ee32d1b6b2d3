"""Reads the whole gateway for whoever looks at it: at most once a second, however many look.

What is read of the scheduler costs as much as there are applications with calls, not as there are calls: an
application with thousands of them is judged by two.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.fairness.units import ApplicationId
from gateway.identity.terms import NO_LIMITS
from gateway.scheduling.application_desk import ApplicationDesk
from gateway.scheduling.engine_feed import EngineFeed
from gateway.scheduling.model import Call, Waiting
from gateway.scheduling.overview import CallsOn, EngineSight, Foremost, Overview, Reading, TenantSight, make_overview
from gateway.scheduling.quotas import Quotas
from gateway.scheduling.scheduler import Scheduler
from gateway.scheduling.tenant_room import TermsOf

KEPT_S = 1.0
"""How long one reading is good for."""


@dataclass(frozen=True, slots=True)
class Insides:
    """Of a dispatcher: what there is to be looked at."""

    desk: ApplicationDesk
    scheduler: Scheduler
    feeds: Mapping[str, EngineFeed]
    quotas: Quotas
    terms_of: TermsOf
    waiting: Callable[[str], Waiting | None]
    store_is_up: Callable[[], bool]


class OverviewDesk:
    """`max_listed`: more applications than this a snapshot does not hold."""

    def __init__(self, insides: Insides, now: Callable[[], float], max_listed: int) -> None:
        self._insides = insides
        self._now = now
        self._max_listed = max_listed
        self._latest: Overview | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[Overview] | None = None

    async def overview(self) -> Overview:
        """At most `KEPT_S` old; the same object for all who ask within that time."""
        if self._latest is not None and self._now() - self._read_at < KEPT_S:
            return self._latest
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)  # who leaves does not take it from the others

    def age_s(self) -> float:
        return max(0.0, self._now() - self._read_at)

    async def _read(self) -> Overview:
        try:
            waits = _Waits(self._insides)
            snapshot, descriptions = await self._insides.desk.look(waits.expected_s)
            now = self._now()
            reading = Reading(
                virtual_time=snapshot.virtual_time,
                num_backlogged=len(snapshot.backlogged),
                descriptions=descriptions,
                is_cut=len(descriptions) >= self._max_listed,
                foremost=waits.foremost,
                tenants=self._tenants({description.tenant for description in descriptions}, now),
                engines=tuple(self._engine(name) for name in self._insides.feeds),
                service_rate=sum(feed.service_rate for feed in self._insides.feeds.values()),
                calls_waiting=self._insides.scheduler.num_waiting,
                calls_running=self._insides.scheduler.num_dispatched,
                store_is_up=self._insides.store_is_up(),
            )
            self._latest, self._read_at = make_overview(reading), now
            return self._latest
        finally:
            self._reading = None

    def _tenants(self, tenants: Iterable[str], now: float) -> dict[str, TenantSight]:
        running = self._insides.scheduler.running_of_capped()
        return {tenant: self._tenant(tenant, running, now) for tenant in tenants}

    def _tenant(self, tenant: str, running: Mapping[str, int], now: float) -> TenantSight:
        insides = self._insides
        terms = insides.terms_of(tenant)
        if terms == NO_LIMITS:
            return TenantSight()
        is_capped = terms.max_running_calls is not None
        return TenantSight(
            has_room=insides.scheduler.room.has_room(tenant),
            max_running_calls=terms.max_running_calls,
            running_calls=running.get(tenant, 0) + insides.scheduler.room.elsewhere.get(tenant, 0) if is_capped else 0,
            quota_wait_s=insides.quotas.wait_s(tenant, 1.0, 1.0, now),
        )

    def _engine(self, name: str) -> EngineSight:
        feed = self._insides.feeds[name]
        state = feed.state if feed.mode is not None else None
        waiting = state.waiting_calls if state is not None and state.waiting_calls is not None else frozenset()
        calls: dict[ApplicationId, CallsOn] = {}
        for call_id, call in self._insides.scheduler.windows[name].in_flight.items():
            known = calls.get(call.application_id, CallsOn(0, 0))
            is_waiting = call_id in waiting and not call.is_answering
            calls[call.application_id] = CallsOn(known.num_calls + 1, known.num_waiting + is_waiting)
        return EngineSight(name, feed.mode, state, feed.service_rate, calls)


class _Waits:
    """Of one reading: each application's foremost waiting call, and when it is expected to go."""

    def __init__(self, insides: Insides) -> None:
        self._insides = insides
        self._served = {model for feed in insides.feeds.values() if feed.mode is not None for model in feed.mode.models}
        self.foremost: dict[ApplicationId, Foremost] = {}

    def expected_s(self, application_id: ApplicationId) -> float | None:
        calls = self._insides.scheduler.waiting_calls(application_id)
        if not calls:
            return None
        # Every policy ranks an application's calls by when they came, by what they cost, or all the same.
        candidates = {call.call_id: call.model for call in (min(calls, key=_by_arrival), min(calls, key=_by_cost))}
        places = [(self._insides.waiting(call_id), model) for call_id, model in candidates.items()]
        found = [(place.calls_ahead, place.expected_wait_s, model) for place, model in places if place is not None]
        calls_ahead, wait_s, model = min(found, key=lambda one: one[0])
        self.foremost[application_id] = Foremost(model, calls_ahead, model in self._served)
        return wait_s


def _by_arrival(call: Call) -> float:
    return call.arrived_at


def _by_cost(call: Call) -> tuple[float, float]:
    return call.predicted_cost, call.arrived_at
