"""The async shell of the scheduler: calls wait here for their turn and end here in exactly one outcome.

The scheduler decides; this module asks the store where an application stands, wakes the call that was dispatched,
settles what it cost, keeps time, and counts. Every call passes through `Dispatcher.call`, and leaves it once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

from gateway import errors
from gateway.errors import EngineError, GatewayError
from gateway.fairness.cost import call_cost
from gateway.fairness.policies import policy_named
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Tokens, VirtualTime
from gateway.identity import DEFAULT_KIND, KindRegistry, ShapeRegistry
from gateway.metrics import Metrics
from gateway.ports import ApplicationRecord, ClosedApplication, CostPredictor, Engine, FirstCall, Prediction, StateStore
from gateway.scheduling.admission import Limits
from gateway.scheduling.application_desk import ApplicationDesk, arrival_of
from gateway.scheduling.applications import Applications
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
    TimePassed,
)
from gateway.scheduling.local_application import LocalApplication
from gateway.scheduling.model import Call, CallRequest, Outcome, Refusal, Usage
from gateway.scheduling.scheduler import Scheduler
from gateway.settings import Settings

log = logging.getLogger(__name__)

_TICK_S = 0.1
"""How late a deadline may be noticed."""

_RETRY_AFTER_S = 1.0


@dataclass(slots=True)
class Lease:
    """A dispatched call: where to send it, and what to tell about it."""

    call_id: str
    engine: Engine
    rank: float
    queue_s: float
    virtual_finish_time: VirtualTime
    application_id: ApplicationId
    _dispatcher: "Dispatcher"
    _arrived_at: float
    usage: Usage | None = None
    """Set by whoever reads the answer, when it has seen it."""
    has_answered: bool = False

    def first_byte(self) -> None:
        if not self.has_answered:
            self.has_answered = True
            self._dispatcher.answering(self.call_id, self._arrived_at, self.application_id)


@dataclass(frozen=True, slots=True)
class Readiness:
    store_is_up: bool
    engines: dict[str, str]
    """Mode by name, or "down"."""

    @property
    def is_ready(self) -> bool:
        return self.store_is_up and any(mode != "down" for mode in self.engines.values())


class _Refused(Exception):
    """The scheduler ended the call by itself."""

    def __init__(self, end: End) -> None:
        super().__init__(end.call_id)
        self.end = end


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
    ) -> None:
        scheduling = settings.scheduling
        self.engines = engines
        self._settings = settings
        self._metrics = metrics
        self._kinds = kinds
        self._shapes = ShapeRegistry()
        self._now = now
        self._estimates = TokenEstimates()
        self._scheduler = Scheduler(
            policy_named(scheduling.policy),
            [engine.name for engine in engines],
            limits=Limits(scheduling.max_queued_calls, scheduling.max_queued_bytes),
            margin=scheduling.dispatch_margin_calls,
            unreachable_grace_s=settings.engines.unreachable_grace_s,
        )
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
                engine, settings.engines, self._applications, metrics, now, self._tell, gateway_id=gateway_id
            )
            for engine in engines
        }
        self.desk = ApplicationDesk(self._applications, kinds, self._scheduler.counts, self.service_rate)
        self._turns: dict[str, asyncio.Future[Dispatch]] = {}
        self._is_draining = False
        self._gauge()

    # --- a call -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def call(self, request: CallRequest) -> AsyncIterator[Lease]:
        """Entering waits until the call is dispatched; leaving ends it, by the exception that passes through: none is
        completed, a cancellation cancelled, anything else failed. Raises what `gateway.errors` lists up to the
        dispatch. Safe to cancel at any await."""
        arrived_at = self._now()
        outcome = Outcome.FAILED
        lease: Lease | None = None
        local: LocalApplication | None = None
        try:
            if self._is_draining:
                raise errors.ShuttingDown("The gateway is shutting down.", retry_after_s=_RETRY_AFTER_S)
            local = await self._open_for(request)
            self._applications.call_began(
                local, request.call_id, self._prompt_tokens(request), is_final=request.identity.is_root_final
            )
            lease = await self._take_turn(request, local, arrived_at)
            yield lease
            outcome = Outcome.COMPLETED
        except _Refused as refused:
            outcome = refused.end.outcome
            raise _error_of(refused.end) from None
        except (asyncio.CancelledError, GeneratorExit):
            outcome = Outcome.CANCELLED
            raise
        except errors.Rejected:
            outcome = Outcome.REJECTED
            raise
        except errors.ClientDisconnected:
            outcome = Outcome.CANCELLED
            raise
        finally:
            self._finish(request, outcome, lease, local)

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
        arrival = arrival_of(identity, self._kinds, declared, UNIT_WEIGHT)
        first_call = FirstCall(
            kind=arrival.kind,
            tenant=identity.tenant,
            model=request.model,
            prompt_tokens=self._prompt_tokens(request),
            max_tokens=request.max_tokens,
            text=request.text,
            num_tools=request.num_tools,
        )
        if known is not None:
            await self._applications.first_call_came(known, replace(first_call, kind=known.record.kind))
            return known
        return await self._applications.open(arrival, first_call, declared is not None)

    async def _take_turn(self, request: CallRequest, local: LocalApplication, arrived_at: float) -> Lease:
        prompt_tokens = self._prompt_tokens(request)
        call = Call(
            call_id=request.call_id,
            application_id=local.record.application_id,
            model=request.model,
            arrived_at=arrived_at,
            deadline_at=arrived_at + self._settings.scheduling.queue_timeout_s,
            prompt_tokens=prompt_tokens,
            max_tokens=request.max_tokens,
            predicted_cost=self._estimates.call_cost(prompt_tokens, request.max_tokens),
            body_bytes=request.body_bytes,
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
            _dispatcher=self,
            _arrived_at=arrived_at,
        )

    def answering(self, call_id: str, arrived_at: float, application_id: ApplicationId) -> None:
        self._tell(CallAnswering(call_id))
        local = self._applications.get(application_id)
        if local is not None:
            self._metrics.first_token(self._now() - arrived_at, local.record.kind)

    def _finish(
        self, request: CallRequest, outcome: Outcome, lease: Lease | None, local: LocalApplication | None
    ) -> None:
        """The one place where a call ends. No await: it cannot be cut short."""
        usage = lease.usage if lease is not None else None
        self._tell(CallEnded(request.call_id, outcome, usage))
        if local is not None:
            if lease is None:
                self._applications.call_settled(local.record.application_id, request.call_id, was_dispatched=False)
            else:
                if usage is not None:
                    self._estimates.learn(request.body_bytes, usage)
                self._feeds[lease.engine.name].call_ended(request.call_id, self._estimated_cost(request, lease))
        kind = local.record.kind if local is not None else request.identity.kind
        self._metrics.call_ended(outcome, kind)
        self._gauge()

    def _estimated_cost(self, request: CallRequest, lease: Lease) -> KvTokenTime:
        """By formula; a call that broke off without usage has held its prompt for an iteration at least."""
        if lease.usage is not None:
            return call_cost(lease.usage.prompt_tokens, lease.usage.completion_tokens)
        return call_cost(self._prompt_tokens(request), Tokens(1)) if lease.has_answered else KvTokenTime(0.0)

    def _prompt_tokens(self, request: CallRequest) -> Tokens:
        if request.prompt_tokens_hint is not None:
            return request.prompt_tokens_hint
        return self._estimates.prompt_tokens(request.body_bytes)

    # --- the scheduler ----------------------------------------------------------------------------------------------

    def _ranked(self, local: LocalApplication) -> None:
        record = local.record
        self._tell(
            ApplicationRanked(
                application_id=record.application_id,
                arrived_at=record.arrived_at,
                weight=record.weight,
                virtual_finish_time=record.virtual_finish_time,
                predicted_cost=record.predicted_cost,
                service=local.service,
            )
        )

    def _tell(self, event: Event) -> None:
        for decision in self._scheduler.handle(event, self._now()):
            self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Dispatch(call_id):
                turn = self._turns.get(call_id)
                if turn is not None and not turn.done():
                    turn.set_result(decision)
            case End(call_id):
                turn = self._turns.get(call_id)
                if turn is not None and not turn.done():
                    turn.set_exception(_Refused(decision))
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
            self._metrics.lag(max((_lag(record, snapshot.virtual_time) for record in snapshot.applications), default=0))

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

    def service_rate(self) -> float:
        """Of all engines, recently: token·iterations a second."""
        return sum(feed.service_rate for feed in self._feeds.values())

    def models(self) -> tuple[str, ...]:
        served = {model for feed in self._feeds.values() if feed.mode is not None for model in feed.mode.models}
        return tuple(sorted(served))

    async def readiness(self) -> Readiness:
        modes = {name: feed.mode.name if feed.mode is not None else "down" for name, feed in self._feeds.items()}
        return Readiness(self._applications.store_is_up, modes)


def _lag(record: ApplicationRecord, virtual_time: VirtualTime) -> float:
    """GPS service minus real service (token·iterations); what runs now counts when it has ended."""
    in_gps = max(0.0, min(virtual_time, record.virtual_finish_time) - record.virtual_start)
    return in_gps * record.weight / UNIT_WEIGHT - record.service


def _error_of(end: End) -> GatewayError:
    match end.refusal:
        case Refusal.QUEUE_FULL:
            return errors.QueueFull("Too many calls are waiting.", retry_after_s=_RETRY_AFTER_S)
        case Refusal.SHUTTING_DOWN:
            return errors.ShuttingDown("The gateway is shutting down.", retry_after_s=_RETRY_AFTER_S)
        case Refusal.QUEUE_TIMEOUT:
            return errors.QueueTimeout("The call waited too long for its turn.", retry_after_s=_RETRY_AFTER_S)
        case Refusal.MODEL_NOT_FOUND:
            return errors.ModelNotFound("No engine serves this model.", param="model")
        case Refusal.COST_EXCEEDS_CAPACITY:
            return errors.CostExceedsCapacity("max_tokens is more than any engine's KV memory.", param="max_tokens")
        case Refusal.ENGINE_UNREACHABLE:
            return errors.EngineUnreachable("No engine that serves this model can be reached.")
        case None:
            return EngineError("The call ended before its turn.")
