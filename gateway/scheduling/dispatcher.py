"""The async shell of the scheduler: calls wait here for their turn and end here in exactly one outcome.

The scheduler decides, the turnstile carries it out; this module asks the store where an application stands, settles
what a call cost, keeps time, and counts. Every call passes through `Dispatcher.call`, and leaves it once.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import uuid4

from gateway import errors
from gateway.fairness.policies import policy_named
from gateway.fairness.units import ApplicationId
from gateway.identity import DEFAULT_KIND, KindRegistry, ShapeRegistry
from gateway.identity.classes import TenantClasses
from gateway.metrics import Metrics
from gateway.ports import (
    ClosedApplication,
    CostPredictor,
    Engine,
    Prediction,
    StateStore,
    UsageLedger,
)
from gateway.scheduling.accounts import Charge
from gateway.scheduling.admission import Limits
from gateway.scheduling.application_desk import ApplicationDesk, arrival_of, first_call_of
from gateway.scheduling.applications import Applications
from gateway.scheduling.engine_feed import EngineFeed
from gateway.scheduling.estimates import Expected, TokenEstimates
from gateway.scheduling.events import (
    ApplicationForgotten,
    ApplicationRanked,
    CallAnswering,
    CallEnded,
    DrainBegan,
    End,
    RunningElsewhere,
    TimePassed,
)
from gateway.scheduling.gauges import Gauges
from gateway.scheduling.lease import Lease
from gateway.scheduling.local_application import LocalApplication
from gateway.scheduling.metering import Metering
from gateway.scheduling.model import Call, CallRequest, Outcome, Refusal, Waiting
from gateway.scheduling.overview_desk import Insides
from gateway.scheduling.passage import Passage
from gateway.scheduling.process_memory import watch_memory
from gateway.scheduling.readiness import Readiness
from gateway.scheduling.refusals import Refused
from gateway.scheduling.scheduler import Scheduler
from gateway.scheduling.tenant_room import TermsOf, no_limits
from gateway.scheduling.tenant_usage import TenantUsage
from gateway.scheduling.turnstile import Turnstile
from gateway.scheduling.usage_feed import UsageFeed
from gateway.settings import Settings
from gateway.usage_sums import UsageSums

log = logging.getLogger(__name__)

_TICK_S = 0.1
"""How late a deadline may be noticed."""


class Dispatcher:
    def __init__(
        self,
        settings: Settings,
        store: StateStore,
        engines: Sequence[Engine],
        predictor: CostPredictor,
        metrics: Metrics,
        kinds: KindRegistry,
        now: Callable[[], float],
        on_closed: Callable[[ClosedApplication, Prediction], None] = lambda _, __: None,
        *,
        terms_of: TermsOf = no_limits,
        caps_weights: Callable[[], bool] | None = None,
        ledger: UsageLedger | None = None,
        sums: UsageSums | None = None,
    ) -> None:
        """`terms_of`: asked for every call, never waits; `caps_weights`: whether declared weights count only up to the
        tenant's, by default where there are API keys in the settings; `ledger`: where other gateways tell theirs;
        `sums`: where they tell what tenants have used."""
        scheduling = settings.scheduling
        self.engines = engines
        self._settings = settings
        self._metrics = metrics
        self._kinds = kinds
        self._shapes = ShapeRegistry()
        self._now = now
        self._terms_of = terms_of
        self._estimates = TokenEstimates()
        self._metering = Metering(terms_of)
        self._scheduler = Scheduler(
            policy_named(scheduling.policy),
            [engine.name for engine in engines],
            limits=Limits(scheduling.max_queued_calls, scheduling.max_queued_bytes),
            margin=scheduling.dispatch_margin_calls,
            unreachable_grace_s=settings.engines.unreachable_grace_s,
            terms_of=terms_of,
        )
        self._feeds: dict[str, EngineFeed] = {}
        self._turnstile = Turnstile(self._scheduler, self._feeds, now)
        self._applications = Applications(
            store,
            predictor,
            settings.applications,
            metrics,
            now,
            shares=scheduling.shares,
            on_ranked=self._ranked,
            on_forgotten=lambda application_id: self._turnstile.tell(ApplicationForgotten(application_id)),
            on_closed=on_closed,
        )
        gateway_id = uuid4().hex[:12]
        classes = TenantClasses(settings.tenants.classes)
        self._gauges = Gauges(metrics, classes, terms_of, self._feeds, scheduling.shares)
        metrics.queue_limit(scheduling.max_queued_calls)
        self._feeds |= {
            engine.name: EngineFeed(
                engine,
                settings.engines,
                self._applications,
                metrics,
                now,
                self._turnstile.tell,
                gateway_id=gateway_id,
                stay=self._gauges.stay,
                on_charged=self._charged,
            )
            for engine in engines
        }
        self._usage_feed = UsageFeed(
            ledger,
            self._metering.quotas,
            gateway_id,
            now,
            self._scheduler.running_of_capped,
            lambda calls: self._turnstile.tell(RunningElsewhere(calls)),
            sums=sums,
            book=self._metering.book,
        )
        self.desk = ApplicationDesk(
            self._applications,
            kinds,
            self._scheduler.counts,
            self.service_rate,
            self._turnstile.wait_s,
            terms_of,
            caps_weights or (lambda: bool(settings.tenants.api_keys)),
        )
        self._is_draining = False
        self._gauge()

    # --- a call -----------------------------------------------------------------------------------------------------

    def call(self, request: CallRequest) -> Passage:
        """Use it in `async with … as lease`. Entering waits until the call is dispatched; leaving ends it, by the
        exception that passes through: none is completed, a cancellation cancelled, anything else failed. Raises what
        `gateway.errors` lists up to the dispatch; and TryElsewhere, for a call that may be made anew. Safe to cancel
        at any await."""
        return Passage(self, request, self._estimates.of_call(request), self._now())

    async def dispatched(self, passage: Passage) -> Lease:
        """For a passage, which ends what this has begun. Raises Refused, too."""
        request, expected = passage.request, passage.expected
        self._admit(request, expected, passage.arrived_at)
        passage.local = local = await self._open_for(request, expected)
        self._applications.call_began(
            local, request.call_id, expected.prompt_tokens, is_final=request.identity.is_root_final
        )
        return await self._take_turn(request, expected, local, passage.arrived_at)

    def refused(self, refused: Refused, tenant: str) -> errors.GatewayError:
        """What its client is told."""
        self._gauges.refused(refused.end.refusal)
        return self._turnstile.error_of(refused, tenant)

    def rejected(self, error: errors.Rejected) -> None:
        self._gauges.refused(error)

    def can_go_elsewhere(self, request: CallRequest, lease: Lease) -> bool:
        """Once, and only while no byte of an answer has been passed on."""
        if request.avoids is not None or lease.has_answered:
            return False
        return any(engine is not lease.engine for engine in self.engines_serving(request.model))

    def _admit(self, request: CallRequest, expected: Expected, now: float) -> None:
        """What can be told before anybody is asked anything."""
        if self._is_draining:
            raise self._turnstile.shutting_down(now)
        if request.deadline_s is not None and request.deadline_s <= 0:
            raise Refused(End(request.call_id, Outcome.REJECTED, Refusal.QUEUE_TIMEOUT))
        self._metering.admit(request.call_id, request.identity.tenant, expected, now)

    def knows(self, application_id: ApplicationId) -> bool:
        """Another call of it asks for no prediction."""
        known = self._applications.get_fresh(application_id)
        return known is not None and not known.course.awaits_first_call

    async def _open_for(self, request: CallRequest, expected: Expected) -> LocalApplication:
        identity, declared = request.identity, request.declared_cost
        known = self._applications.get_fresh(identity.root)
        if known is not None and (declared is not None or not known.course.awaits_first_call):
            return known
        if identity.kind == DEFAULT_KIND:
            identity = replace(identity, kind=self._shapes.kind_of(request.shape, identity.root))
        weight = self._terms_of(identity.tenant).weight
        arrival = arrival_of(identity, self._kinds, declared, weight, weight)
        first_call = first_call_of(request, arrival.kind, expected.prompt_tokens)
        if known is not None:
            await self._applications.first_call_came(known, replace(first_call, kind=known.record.kind))
            return known
        return await self._applications.open(arrival, first_call, declared is not None)

    async def _take_turn(
        self, request: CallRequest, expected: Expected, local: LocalApplication, arrived_at: float
    ) -> Lease:
        timeout_s = self._settings.scheduling.queue_timeout_s
        call = Call(
            call_id=request.call_id,
            application_id=local.record.application_id,
            model=request.model,
            arrived_at=arrived_at,
            deadline_at=arrived_at + min(timeout_s, timeout_s if request.deadline_s is None else request.deadline_s),
            prompt_tokens=expected.prompt_tokens,
            max_tokens=request.max_tokens,
            predicted_cost=expected.cost,
            body_bytes=request.body_bytes,
            tenant=request.identity.tenant,
            wants=request.wants,
            avoids=request.avoids,
        )
        tenant_class = self._gauges.class_of(call.tenant)
        self._gauges.waits(tenant_class, 1)
        try:
            self._ranked(local)
            dispatch = await self._turnstile.turn_of(call)
        finally:
            self._gauges.waits(tenant_class, -1)
        queue_s = self._now() - arrived_at
        feed = self._feeds[dispatch.engine]
        feed.call_sent(call.call_id, call.application_id)
        self._metrics.call_dispatched(queue_s, local.record.kind)
        return Lease(
            call_id=call.call_id,
            engine=feed.engine,
            rank=dispatch.rank,
            queue_s=queue_s,
            virtual_finish_time=local.record.virtual_finish_time,
            application_id=call.application_id,
            _on_first_byte=lambda: self._answering(call, arrived_at),
        )

    def _answering(self, call: Call, arrived_at: float) -> float:
        now = self._now()
        self._turnstile.tell(CallAnswering(call.call_id), now)
        local = self._applications.get(call.application_id)
        if local is not None:
            self._metrics.first_token(now - arrived_at, local.record.kind)
        return now

    def finish(
        self, request: CallRequest, outcome: Outcome, lease: Lease | None, local: LocalApplication | None
    ) -> float:
        """The one place where a call ends, and when that was. No await: it cannot be cut short."""
        usage, now = lease.usage if lease is not None else None, self._now()
        self._turnstile.tell(CallEnded(request.call_id, outcome, usage), now)
        spent = self._estimates.spent(request, usage, has_answered=lease.has_answered) if lease is not None else None
        self._metering.call_ended(request.call_id, request.identity.tenant, outcome, usage, spent, now)
        if local is not None:
            if lease is None or spent is None:
                self._applications.call_settled(local.record.application_id, request.call_id, was_dispatched=False)
            else:
                local.count(usage)
                if usage is not None:
                    self._estimates.learn(request.body_bytes, usage)
                    self._gauges.answered(usage, now)
                self._feeds[lease.engine.name].call_ended(request.call_id, spent.cost)
        kind = local.record.kind if local is not None else request.identity.kind
        self._metrics.call_ended(outcome, kind)
        return now

    def _ranked(self, local: LocalApplication) -> None:
        record, service = local.record, local.service
        if local.ranked == (record, service):  # most calls find their application as the last one left it
            return
        local.ranked = (record, service)
        self._turnstile.tell(
            ApplicationRanked(
                application_id=record.application_id,
                arrived_at=record.arrived_at,
                weight=record.weight,
                virtual_finish_time=record.virtual_finish_time,
                predicted_cost=record.predicted_cost,
                service=service,
            )
        )

    def _charged(self, charge: Charge) -> None:
        self._metering.charged(charge, self._now())
        self._gauges.charged(charge)

    def _gauge(self) -> None:
        scheduler = self._scheduler
        self._gauges.tick(scheduler.num_waiting, scheduler.num_dispatched, self._turnstile.oldest_wait_s())

    # --- life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read the engines, keep time, sweep: until cancelled."""
        async with asyncio.TaskGroup() as group:
            for feed in self._feeds.values():
                group.create_task(feed.run())
            group.create_task(self._tick_for_ever())
            group.create_task(self._sweep_for_ever())
            group.create_task(self._usage_feed.run())
            max_memory_bytes = self._settings.scheduling.max_memory_bytes
            if max_memory_bytes is not None:
                group.create_task(watch_memory(max_memory_bytes, self._turnstile.tell))

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._turnstile.tell(TimePassed())
            self._gauge()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.applications.sweep_interval_s)
            await self._applications.sweep()
            snapshot = await self._applications.snapshot()
            self._gauges.sweep(
                snapshot,
                lambda application_id: any(self._scheduler.counts(application_id)),
                self._scheduler.num_held(),
                self._now(),
                store_is_up=self._applications.store_is_up,
            )

    def begin_drain(self) -> None:
        """Refuse what is new and what waits; what runs may finish."""
        if not self._is_draining:
            self._is_draining = True
            log.info(
                "draining: %d calls waiting are refused, %d running may finish",
                self._scheduler.num_waiting,
                self._scheduler.num_dispatched,
            )
            self._turnstile.tell(DrainBegan())

    # --- readings ---------------------------------------------------------------------------------------------------

    def waiting(self, call_id: str) -> Waiting | None:
        """Where a call stands; None if it does not wait (any more). Cheap enough to be asked once a second for each."""
        return self._turnstile.waiting(call_id)

    def usage_of(self, tenant: str) -> TenantUsage:
        """What it has used through this gateway; all zero for one that nobody has seen."""
        return self._metering.book.read(tenant, self._now())

    def insides(self) -> Insides:
        """For whoever looks at the whole."""
        return Insides(
            desk=self.desk,
            scheduler=self._scheduler,
            feeds=self._feeds,
            quotas=self._metering.quotas,
            terms_of=self._terms_of,
            waiting=self.waiting,
            store_is_up=lambda: self._applications.store_is_up,
        )

    async def usage_over_all(self, tenant: str) -> TenantUsage:
        """The same through all gateways of the store, where that can be asked."""
        return await self._usage_feed.usage_of(tenant)

    def service_rate(self) -> float:
        """Of all engines, recently: token·iterations a second."""
        return sum(feed.service_rate for feed in self._feeds.values())

    def engines_serving(self, model: str) -> list[Engine]:
        """Those that are up."""
        feeds = self._feeds.values()
        return [feed.engine for feed in feeds if feed.mode is not None and model in feed.mode.models]

    def are_all_up(self) -> bool:
        return all(feed.mode is not None for feed in self._feeds.values())

    @property
    def num_applications(self) -> int:
        """Known here, open or about to close."""
        return len(self._applications)

    def models(self) -> tuple[str, ...]:
        served = {model for feed in self._feeds.values() if feed.mode is not None for model in feed.mode.models}
        return tuple(sorted(served))

    async def readiness(self) -> Readiness:
        modes = {name: feed.mode.name if feed.mode is not None else "down" for name, feed in self._feeds.items()}
        return Readiness(self._applications.store_is_up, modes)
