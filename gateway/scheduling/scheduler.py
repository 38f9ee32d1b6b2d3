"""The scheduler: (event, now) → decisions. No I/O, no clock, no task: production, simulation and tests drive this one.

A call is WAITING here, then DISPATCHED to an engine, then ENDED; an `End` decision is given exactly once for each call,
whatever the order of events, and an event that comes too late (an answer after its call was cancelled) changes nothing.
The order of calls is (rank, application id, arrival), rank by policy. The first in order that no engine admits blocks
those behind it that want the same model: nobody slips past (see `engine_window` for when an engine admits).
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from gateway.fairness.policies import ApplicationView, CallView, Policy
from gateway.fairness.units import ApplicationId
from gateway.scheduling import admission
from gateway.scheduling.admission import Limits, Load
from gateway.scheduling.engine_window import EngineWindow
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
    EngineLost,
    EngineReported,
    Event,
    Rerank,
    TimePassed,
)
from gateway.scheduling.model import LEGAL_TRANSITIONS, Call, CallStatus, Outcome, Refusal, Usage
from gateway.scheduling.ready_queue import ReadyQueue

_MIN_HEAP_TO_COMPACT = 64
"""Below this a heap is not worth rebuilding."""


@dataclass(slots=True)
class _Application:
    view: ApplicationView
    waiting: set[str] = field(default_factory=set)
    dispatched: set[str] = field(default_factory=set)
    is_forgotten: bool = False

    @property
    def has_calls(self) -> bool:
        return bool(self.waiting or self.dispatched)


@dataclass(slots=True)
class _Entry:
    call: Call
    view: CallView
    status: CallStatus = CallStatus.WAITING
    engine: EngineWindow | None = None


class Scheduler:
    def __init__(
        self, policy: Policy, engines: Iterable[str], *, limits: Limits, margin: int, unreachable_grace_s: float
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._grace_s = unreachable_grace_s
        self._engines = {name: EngineWindow(name, margin) for name in engines}
        self._queues: dict[str, ReadyQueue] = {}
        self._applications: dict[ApplicationId, _Application] = {}
        self._entries: dict[str, _Entry] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._load = Load()
        self._lost_at = float("-inf")

    # --- readings ---------------------------------------------------------------------------------------------------

    @property
    def num_waiting(self) -> int:
        return self._load.num_calls

    @property
    def num_dispatched(self) -> int:
        return len(self._entries) - self._load.num_calls

    def counts(self, application_id: ApplicationId) -> tuple[int, int]:
        """(waiting, dispatched) calls of an application."""
        application = self._applications.get(application_id)
        return (len(application.waiting), len(application.dispatched)) if application else (0, 0)

    def live_applications(self) -> list[ApplicationId]:
        """Those with calls."""
        return [application_id for application_id, application in self._applications.items() if application.has_calls]

    # --- the one door -----------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Decision]:
        match event:
            case ApplicationRanked():
                return self._rank(event)
            case ApplicationForgotten(application_id):
                return self._forget(application_id)
            case CallArrived(call):
                return self._arrive(call, now)
            case CallAnswering(call_id):
                self._answering(call_id)
                return []
            case CallEnded(call_id, outcome, usage):
                return self._end(call_id, outcome, None, usage) + self._fill(now)
            case EngineReported(engine, as_of, models, state):
                self._engines[engine].report(state, models, as_of)
                return self._fill(now)
            case EngineLost(engine):
                return self._lose(engine, now)
            case TimePassed():
                return self._evict_late(now) + self._evict_stranded(now)
            case DrainBegan():
                self._load.is_draining = True
                return [d for call in self._waiting_calls() for d in self._refuse(call, Refusal.SHUTTING_DOWN)]
            case _ as unreachable:
                assert_never(unreachable)

    # --- applications -----------------------------------------------------------------------------------------------

    def _rank(self, event: ApplicationRanked) -> list[Decision]:
        view = ApplicationView(
            application_id=event.application_id,
            arrived_at=event.arrived_at,
            weight=event.weight,
            virtual_finish_time=event.virtual_finish_time,
            predicted_cost=event.predicted_cost,
            service=event.service,
        )
        application = self._applications.get(event.application_id)
        if application is None:
            self._applications[event.application_id] = _Application(view)
            return []
        application.view, application.is_forgotten = view, False
        return self._refresh(application)

    def _refresh(self, application: _Application) -> list[Decision]:
        """Give all its calls the rank they have now."""
        for call_id in application.waiting:
            entry = self._entries[call_id]
            self._queues[entry.call.model].rerank(call_id, self._policy.rank(application.view, entry.view))
        moved: dict[str, float] = {}
        for call_id in application.dispatched:
            entry = self._entries[call_id]
            rank = self._policy.rank(application.view, entry.view)
            assert entry.engine is not None
            in_flight = entry.engine.in_flight[call_id]
            if rank != in_flight.rank:
                in_flight.rank = moved[entry.engine.name] = rank
        return [Rerank(engine, {application.view.application_id: rank}) for engine, rank in sorted(moved.items())]

    def _forget(self, application_id: ApplicationId) -> list[Decision]:
        application = self._applications.get(application_id)
        if application is not None:
            application.is_forgotten = True
            self._drop_if_done(application_id, application)
        return []

    def _drop_if_done(self, application_id: ApplicationId, application: _Application) -> None:
        if application.is_forgotten and not application.has_calls:
            del self._applications[application_id]
            self._policy.forget(application_id)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _arrive(self, call: Call, now: float) -> list[Decision]:
        if call.call_id in self._entries:
            raise ValueError(f"call {call.call_id!r} is here already")
        application = self._applications[call.application_id]
        why_not = admission.refusal(call, self._load, self._limits, self._engines.values())
        if why_not is not None:
            return [End(call.call_id, Outcome.REJECTED, why_not)]
        if not application.has_calls:
            self._policy.joined(call.application_id, application.view.weight)
        entry = _Entry(call, CallView(arrived_at=call.arrived_at, predicted_cost=call.predicted_cost))
        self._entries[call.call_id] = entry
        application.waiting.add(call.call_id)
        queue = self._queues.setdefault(call.model, ReadyQueue())
        queue.push(call.call_id, call.application_id, self._policy.rank(application.view, entry.view))
        self._load.num_calls += 1
        self._load.num_bytes += call.body_bytes
        self._set_deadline(call)
        return self._fill_queue(call.model, queue, now)

    def _set_deadline(self, call: Call) -> None:
        heapq.heappush(self._deadlines, (call.deadline_at, call.call_id))
        if len(self._deadlines) > 2 * self._load.num_calls + _MIN_HEAP_TO_COMPACT:
            self._deadlines = [(waiting.deadline_at, waiting.call_id) for waiting in self._waiting_calls()]
            heapq.heapify(self._deadlines)

    def _answering(self, call_id: str) -> None:
        entry = self._entries.get(call_id)
        if entry is not None and entry.engine is not None:
            entry.engine.answering(call_id)

    def _end(self, call_id: str, outcome: Outcome, refusal: Refusal | None, usage: Usage | None) -> list[Decision]:
        entry = self._entries.get(call_id)
        if entry is None:
            return []
        application = self._applications[entry.call.application_id]
        if entry.status is CallStatus.WAITING:
            self._leave_queue(entry)
        else:
            assert entry.engine is not None
            entry.engine.ended(call_id)
            application.dispatched.remove(call_id)
        self._move(entry, CallStatus.ENDED)
        del self._entries[call_id]
        decisions: list[Decision] = [End(call_id, outcome, refusal)]
        if usage is not None:
            self._policy.charged(entry.call.application_id, usage.prompt_tokens, usage.completion_tokens)
            decisions += self._refresh(application)
        if not application.has_calls:
            self._policy.left(entry.call.application_id)
            self._drop_if_done(entry.call.application_id, application)
        return decisions

    def _leave_queue(self, entry: _Entry) -> None:
        queue = self._queues[entry.call.model]
        queue.remove(entry.call.call_id)
        if not queue:
            del self._queues[entry.call.model]
        self._applications[entry.call.application_id].waiting.remove(entry.call.call_id)
        self._load.num_calls -= 1
        self._load.num_bytes -= entry.call.body_bytes

    @staticmethod
    def _move(entry: _Entry, status: CallStatus) -> None:
        assert status in LEGAL_TRANSITIONS[entry.status], f"{entry.call.call_id}: {entry.status} → {status}"
        entry.status = status

    # --- dispatching ------------------------------------------------------------------------------------------------

    def _fill(self, now: float) -> list[Decision]:
        return [d for model, queue in list(self._queues.items()) for d in self._fill_queue(model, queue, now)]

    def _fill_queue(self, model: str, queue: ReadyQueue, now: float) -> list[Decision]:
        """Send the first in order as long as an engine admits it."""
        decisions: list[Decision] = []
        while (first := queue.first()) is not None:
            call_id, rank = first
            entry = self._entries[call_id]
            serving = [engine for engine in self._engines.values() if engine.is_up and model in engine.models]
            open_to_it = [engine for engine in serving if engine.admits(entry.call, rank)]
            if not open_to_it:
                break
            engine = max(open_to_it, key=lambda e: (e.room(entry.call.application_id), e.name))
            self._leave_queue(entry)
            engine.sent(entry.call, rank, now)
            entry.engine = engine
            self._applications[entry.call.application_id].dispatched.add(call_id)
            self._move(entry, CallStatus.DISPATCHED)
            decisions.append(Dispatch(call_id, engine.name, rank))
        return decisions

    # --- leaving undispatched ---------------------------------------------------------------------------------------

    def _refuse(self, call: Call, refusal: Refusal) -> list[Decision]:
        return self._end(call.call_id, Outcome.EVICTED, refusal, None)

    def _waiting_calls(self) -> Iterator[Call]:
        waiting = [entry.call for entry in self._entries.values() if entry.status is CallStatus.WAITING]
        return iter(waiting)

    def _lose(self, engine: str, now: float) -> list[Decision]:
        window = self._engines[engine]
        if window.is_up:
            window.lost()
            self._lost_at = now
        return []

    def _evict_late(self, now: float) -> list[Decision]:
        decisions: list[Decision] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, call_id = heapq.heappop(self._deadlines)
            entry = self._entries.get(call_id)
            if entry is not None and entry.status is CallStatus.WAITING:
                decisions += self._refuse(entry.call, Refusal.QUEUE_TIMEOUT)
        return decisions

    def _evict_stranded(self, now: float) -> list[Decision]:
        """Calls whose model nobody serves: at once if every engine is up, after the grace if one may come back."""
        served = {model for engine in self._engines.values() if engine.is_up for model in engine.models}
        if all(model in served for model in self._queues):
            return []
        all_up = all(engine.is_up for engine in self._engines.values())
        decisions: list[Decision] = []
        for call in self._waiting_calls():
            if call.model in served:
                continue
            if all_up:
                decisions += self._refuse(call, Refusal.MODEL_NOT_FOUND)
            elif now - max(call.arrived_at, self._lost_at) >= self._grace_s:
                decisions += self._refuse(call, Refusal.ENGINE_UNREACHABLE)
        return decisions
