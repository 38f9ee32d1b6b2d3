"""The async shell of the scheduler: calls wait here for their turn and end here in exactly one outcome.

The scheduler decides; this module asks the store where an application stands, wakes the call that was dispatched,
settles what it cost, keeps time, and counts. Every call passes through `Dispatcher.call`, and leaves it once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

from gateway import errors
from gateway.fairness.policies import policy_named
from gateway.fairness.units import ApplicationId
from gateway.identity import DEFAULT_KIND, KindRegistry, ShapeRegistry
from gateway.metrics import Metrics
from gateway.ports import (
    ClosedApplication,
    CostPredictor,
    Engine,
    Prediction,
    StateStore,
    UsageLedger,
)
from gateway.scheduling.admission import Limits
from gateway.scheduling.application_desk import ApplicationDesk, arrival_of, first_call_of
from gateway.scheduling.applications import Applications
from gateway.scheduling.describe import lag
from gateway.scheduling.engine_feed import EngineFeed
from gateway.scheduling.estimates import TokenEstimates
from gateway.scheduling.events import (
    ApplicationForgotten,
    ApplicationRanked,
    CallAnswering,
    CallArrived,
    CallEnded,
    Decision,
    Dispatch,
    DrainBegan,
    End,
    Event,
    Rerank,
    RunningElsewhere,
    TimePassed,
)
from gateway.scheduling.lease import Lease, TryElsewhere
from gateway.scheduling.local_application import LocalApplication
from gateway.scheduling.metering import Metering
from gateway.scheduling.model import Call, CallRequest, Outcome, Refusal, Waiting
from gateway.scheduling.places import Places
from gateway.scheduling.process_memory import watch_memory
from gateway.scheduling.readiness import Readiness
from gateway.scheduling.refusals import Refused, error_of, shutting_down
from gateway.scheduling.retry_after import RetryAfter
from gateway.scheduling.scheduler import Scheduler
from gateway.scheduling.tenant_room import TermsOf, no_limits
from gateway.scheduling.tenant_usage import TenantUsage
from gateway.scheduling.usage_feed import UsageFeed
from gateway.settings import Settings

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
    ) -> None:
        """`terms_of`: asked for every call, never waits; `caps_weights`: whether declared weights count only up to the
        tenant's, by default where there are API keys in the settings; `ledger`: where other gateways tell theirs."""
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
        self._retry_after = RetryAfter()
        self._scheduler = Scheduler(
            policy_named(scheduling.policy),
            [engine.name for engine in engines],
            limits=Limits(scheduling.max_queued_calls, scheduling.max_queued_bytes),
            margin=scheduling.dispatch_margin_calls,
            unreachable_grace_s=settings.engines.unreachable_grace_s,
            terms_of=terms_of,
        )
        self._places = Places(self._scheduler)
        self._applications = Applications(
            store,
            predictor,
            settings.applications,
            metrics,
            now,
            on_ranked=self._ranked,
            on_forgotten=lambda application_id: self._tell(ApplicationForgotten(application_id)),
            on_closed=on_closed,
        )
        gateway_id = uuid4().hex[:12]
        self._feeds = {
            engine.name: EngineFeed(
                engine,
                settings.engines,
                self._applications,
                metrics,
                now,
                self._tell,
                gateway_id=gateway_id,
                on_charged=lambda charge: self._metering.charged(charge, self._now()),
            )
            for engine in engines
        }
        self._usage_feed = UsageFeed(
            ledger,
            self._metering.quotas,
            gateway_id,
            now,
            self._scheduler.running_of_capped,
            lambda calls: self._tell(RunningElsewhere(calls)),
        )
        self.desk = ApplicationDesk(
            self._applications,
            kinds,
            self._scheduler.counts,
            self.service_rate,
            lambda application_id: self._places.wait_s(application_id, self._now()),
            terms_of,
            caps_weights or (lambda: bool(settings.tenants.api_keys)),
        )
        self._turns: dict[str, asyncio.Future[Dispatch]] = {}
        self._is_draining = False
        self._gauge()

    # --- a call -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def call(self, request: CallRequest) -> AsyncIterator[Lease]:
        """Entering waits until the call is dispatched; leaving ends it, by the exception that passes through: none is
        completed, a cancellation cancelled, anything else failed. Raises what `gateway.errors` lists up to the
        dispatch; and TryElsewhere, for a call that may be made anew. Safe to cancel at any await."""
        arrived_at = self._now()
        outcome = Outcome.FAILED
        lease: Lease | None = None
        local: LocalApplication | None = None
        try:
            self._admit(request, arrived_at)
            local = await self._open_for(request)
            self._applications.call_began(
                local, request.call_id, self._estimates.prompt_of(request), is_final=request.identity.is_root_final
            )
            lease = await self._take_turn(request, local, arrived_at)
            yield lease
            outcome = Outcome.COMPLETED
        except Refused as refused:
            outcome = refused.end.outcome
            tenant, num_waiting = request.identity.tenant, self._scheduler.num_waiting
            raise error_of(refused.end, tenant, num_waiting, self._retry_after, self._now()) from None
        except (asyncio.CancelledError, GeneratorExit):
            outcome = Outcome.CANCELLED
            raise
        except errors.Rejected:
            outcome = Outcome.REJECTED
            raise
        except errors.ClientDisconnected:
            outcome = Outcome.CANCELLED
            raise
        except errors.EngineUnreachable as error:
            if lease is None or not self._can_go_elsewhere(request, lease):
                raise
            outcome = Outcome.RETRIED
            raise TryElsewhere(lease.engine.name) from error
        finally:
            self._finish(request, outcome, lease, local)

    def _can_go_elsewhere(self, request: CallRequest, lease: Lease) -> bool:
        """Once, and only while no byte of an answer has been passed on."""
        if request.avoids is not None or lease.has_answered:
            return False
        return any(engine is not lease.engine for engine in self.engines_serving(request.model))

    def _admit(self, request: CallRequest, now: float) -> None:
        """What can be told before anybody is asked anything."""
        if self._is_draining:
            raise shutting_down(self._retry_after, now)
        if request.deadline_s is not None and request.deadline_s <= 0:
            raise Refused(End(request.call_id, Outcome.REJECTED, Refusal.QUEUE_TIMEOUT))
        self._metering.admit(request.call_id, request.identity.tenant, self._estimates.of_call(request), now)

    def knows(self, application_id: ApplicationId) -> bool:
        """Another call of it asks for no prediction."""
        known = self._applications.get_fresh(application_id)
        return known is not None and not known.course.awaits_first_call

    async def _open_for(self, request: CallRequest) -> LocalApplication:
        identity, declared = request.identity, request.declared_cost
        known = self._applications.get_fresh(identity.root)
        if known is not None and (self.knows(identity.root) or declared is not None):
            return known
        if identity.kind == DEFAULT_KIND:
            identity = replace(identity, kind=self._shapes.kind_of(request.shape, identity.root))
        arrival = arrival_of(identity, self._kinds, declared, self._terms_of(identity.tenant).weight)
        first_call = first_call_of(request, arrival.kind, self._estimates.prompt_of(request))
        if known is not None:
            await self._applications.first_call_came(known, replace(first_call, kind=known.record.kind))
            return known
        return await self._applications.open(arrival, first_call, declared is not None)

    async def _take_turn(self, request: CallRequest, local: LocalApplication, arrived_at: float) -> Lease:
        expected = self._estimates.of_call(request)
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
        turn: asyncio.Future[Dispatch] = asyncio.get_running_loop().create_future()
        self._turns[call.call_id] = turn
        self._ranked(local)
        self._tell(CallArrived(call))
        try:
            dispatch = await turn
        finally:
            del self._turns[call.call_id]
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

    def _answering(self, call: Call, arrived_at: float) -> None:
        self._tell(CallAnswering(call.call_id))
        local = self._applications.get(call.application_id)
        if local is not None:
            self._metrics.first_token(self._now() - arrived_at, local.record.kind)

    def _finish(
        self, request: CallRequest, outcome: Outcome, lease: Lease | None, local: LocalApplication | None
    ) -> None:
        """The one place where a call ends. No await: it cannot be cut short."""
        usage = lease.usage if lease is not None else None
        self._tell(CallEnded(request.call_id, outcome, usage))
        spent = self._estimates.spent(request, usage, has_answered=lease.has_answered) if lease is not None else None
        self._metering.call_ended(request.call_id, request.identity.tenant, outcome, usage, spent, self._now())
        if local is not None:
            if lease is None or spent is None:
                self._applications.call_settled(local.record.application_id, request.call_id, was_dispatched=False)
            else:
                local.count(usage)
                if usage is not None:
                    self._estimates.learn(request.body_bytes, usage)
                self._feeds[lease.engine.name].call_ended(request.call_id, spent.cost)
        kind = local.record.kind if local is not None else request.identity.kind
        self._metrics.call_ended(outcome, kind)

    # --- the scheduler ----------------------------------------------------------------------------------------------

    def _ranked(self, local: LocalApplication) -> None:
        record = local.record
        ranked = ApplicationRanked(
            application_id=record.application_id,
            arrived_at=record.arrived_at,
            weight=record.weight,
            virtual_finish_time=record.virtual_finish_time,
            predicted_cost=record.predicted_cost,
            service=local.service,
        )
        if ranked != local.ranked:  # most calls find their application as the last one left it
            local.ranked = ranked
            self._tell(ranked)

    def _tell(self, event: Event) -> None:
        for decision in self._scheduler.handle(event, self._now()):
            self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Dispatch(call_id):
                self._retry_after.dispatched(self._now())
                self._places.dispatched(call_id, self._now())
                turn = self._turns.get(call_id)
                if turn is not None and not turn.done():
                    turn.set_result(decision)
            case End(call_id):
                turn = self._turns.get(call_id)
                if turn is not None and not turn.done():
                    turn.set_exception(Refused(decision))
            case Rerank(engine, ranks):
                for application_id, rank in ranks.items():
                    self._feeds[engine].rerank(application_id, rank)

    def _gauge(self) -> None:
        self._metrics.queue_depth(self._scheduler.num_waiting, self._scheduler.num_dispatched)

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
                group.create_task(watch_memory(max_memory_bytes, self._tell))

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._tell(TimePassed())
            self._gauge()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.applications.sweep_interval_s)
            await self._applications.sweep()
            snapshot = await self._applications.snapshot()
            self._metrics.clock(snapshot.virtual_time, len(snapshot.backlogged))
            self._metrics.lag(max((lag(record, snapshot.virtual_time) for record in snapshot.applications), default=0))

    def begin_drain(self) -> None:
        """Refuse what is new and what waits; what runs may finish."""
        if not self._is_draining:
            self._is_draining = True
            log.info(
                "draining: %d calls waiting are refused, %d running may finish",
                self._scheduler.num_waiting,
                self._scheduler.num_dispatched,
            )
            self._tell(DrainBegan())

    # --- readings ---------------------------------------------------------------------------------------------------

    def waiting(self, call_id: str) -> Waiting | None:
        """Where a call stands; None if it does not wait (any more). Cheap enough to be asked once a second for each."""
        return self._places.of_call(call_id, self._now())

    def usage_of(self, tenant: str) -> TenantUsage:
        """What it has used through this gateway; all zero for one that nobody has seen."""
        return self._metering.book.read(tenant, self._now())

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
