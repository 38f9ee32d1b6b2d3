"""The scheduler: (event, now) → decisions. No I/O, no clock, no task: production, simulation and tests drive this one.

A call is WAITING here, then DISPATCHED to an engine, then ENDED; an `End` decision is given exactly once for each call,
whatever the order of events, and an event that comes too late (an answer after its call was cancelled) changes nothing.
The order of calls is (rank, application id, arrival), rank by policy. The first in order that no engine admits blocks
those behind it that want the same model: nobody slips past (see `engine_window` for when an engine admits). Calls of a
tenant that may have no more of them running are passed (see `lanes`).
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import assert_never

from gateway.fairness.policies import ApplicationView, CallView, Policy
from gateway.fairness.units import ApplicationId
from gateway.scheduling import admission
from gateway.scheduling.admission import Limits, Load
from gateway.scheduling.engine_choice import MAX_ASIDE, fit_for
from gateway.scheduling.engine_window import EngineWindow
from gateway.scheduling.entries import Entry, WithCalls
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
    MemoryRead,
    Rerank,
    RunningElsewhere,
    TimePassed,
)
from gateway.scheduling.lanes import ASIDE, COMMON, Lanes
from gateway.scheduling.model import LEGAL_TRANSITIONS, Call, CallStatus, Hold, Outcome, Refusal, Usage
from gateway.scheduling.ready_queue import MIN_HEAP_TO_COMPACT
from gateway.scheduling.shedding import Bodies
from gateway.scheduling.tenant_room import TenantRoom, TermsOf, no_limits


class Scheduler:
    def __init__(
        self,
        policy: Policy,
        engines: Iterable[str],
        *,
        limits: Limits,
        margin: int,
        unreachable_grace_s: float,
        terms_of: TermsOf = no_limits,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._grace_s = unreachable_grace_s
        self._engines = {name: EngineWindow(name, margin) for name in engines}
        self._tenants = TenantRoom(terms_of)
        self._queues: dict[str, Lanes] = {}
        self._applications: dict[ApplicationId, WithCalls] = {}
        self._entries: dict[str, Entry] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._load = Load()
        self._bodies = Bodies()
        self._lost_at = float("-inf")

    # --- readings ---------------------------------------------------------------------------------------------------

    @property
    def num_waiting(self) -> int:
        return self._load.num_calls

    @property
    def num_dispatched(self) -> int:
        return len(self._entries) - self._load.num_calls

    @property
    def windows(self) -> Mapping[str, EngineWindow]:
        """Of the engines, by name: what is sent there."""
        return self._engines

    @property
    def room(self) -> TenantRoom:
        return self._tenants

    def counts(self, application_id: ApplicationId) -> tuple[int, int]:
        """(waiting, dispatched) calls of an application."""
        application = self._applications.get(application_id)
        return (len(application.waiting), len(application.dispatched)) if application else (0, 0)

    def running_of_capped(self) -> dict[str, int]:
        """Of tenants with calls here whose running calls are capped."""
        return dict(self._tenants.running_of_capped())

    def call(self, call_id: str) -> Call | None:
        """One that waits or runs."""
        entry = self._entries.get(call_id)
        return entry.call if entry is not None else None

    def waiting_calls(self, application_id: ApplicationId) -> list[Call]:
        """In no order."""
        application = self._applications.get(application_id)
        return [self._entries[call_id].call for call_id in application.waiting] if application else []

    def calls_ahead(self, call_id: str, now: float) -> int | None:
        """Waiting calls of its model that rank before it (see `Lanes.num_before`); None if it does not wait."""
        entry = self._entries.get(call_id)
        if entry is None or entry.status is not CallStatus.WAITING:
            return None
        return self._queues[entry.call.model].num_before(call_id, now)

    def num_held(self) -> dict[Hold, int]:
        """Of the waiting calls, how many are held by what: O(models + capped tenants)."""
        found = dict.fromkeys((Hold.CAPACITY, Hold.ORDER, Hold.TENANT_CAP, Hold.NO_ENGINE), 0)
        served = self._served()
        for model, queue in self._queues.items():
            if model not in served:
                found[Hold.NO_ENGINE] += len(queue)
                continue
            num_capped = queue.num_capped()
            num_others = len(queue) - num_capped
            found[Hold.TENANT_CAP] += num_capped
            found[Hold.CAPACITY] += min(num_others, 1)
            found[Hold.ORDER] += max(num_others - 1, 0)
        return found

    def live_applications(self) -> list[ApplicationId]:
        """Those with calls."""
        return [application_id for application_id, application in self._applications.items() if application.has_calls]

    # --- the one door -----------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Decision]:
        match event:
            # The commonest first: a pattern is tried after another.
            case CallArrived(call):
                return self._arrive(call, now)
            case CallAnswering(call_id):
                self._answering(call_id)
                return []
            case CallEnded(call_id, outcome, usage):
                return self._end(call_id, outcome, None, usage) + self._fill(now)
            case ApplicationRanked():
                return self._rank(event)
            case EngineReported(engine, as_of, models, state):
                self._engines[engine].report(state, models, as_of)
                return self._fill(now)
            case ApplicationForgotten(application_id):
                return self._forget(application_id)
            case EngineLost(engine):
                return self._lose(engine, now)
            case RunningElsewhere(calls):
                self._tenants.elsewhere = calls
                for queue in self._queues.values():
                    queue.reopen_all()
                return self._fill(now)
            case MemoryRead(excess_bytes):
                self._load.is_short_of_memory = excess_bytes > 0
                return self._shed_largest(excess_bytes)
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
            self._applications[event.application_id] = WithCalls(view)
            return []
        application.view, application.is_forgotten = view, False
        return self._refresh(application)

    def _refresh(self, application: WithCalls) -> list[Decision]:
        """Give all its calls the rank they have now."""
        for call_id in application.waiting:
            entry = self._entries[call_id]
            rank = self._policy.rank(application.view, entry.view)
            self._queues[entry.call.model].rerank(call_id, rank)
            self._bodies.rerank(call_id, rank)
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

    def _drop_if_done(self, application_id: ApplicationId, application: WithCalls) -> None:
        if application.is_forgotten and not application.has_calls:
            del self._applications[application_id]
            self._policy.forget(application_id)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _arrive(self, call: Call, now: float) -> list[Decision]:
        if call.call_id in self._entries:
            raise ValueError(f"call {call.call_id!r} is here already")
        application = self._applications[call.application_id]
        why_not = admission.refusal(call, now, self._load, self._limits, self._engines.values())
        if why_not is not None or (self._load.is_short_of_memory and self._entries):
            return [End(call.call_id, Outcome.REJECTED, why_not or Refusal.QUEUE_FULL)]
        if not application.has_calls:
            self._policy.joined(call.application_id, application.view.weight)
        entry = Entry(call, CallView(arrived_at=call.arrived_at, predicted_cost=call.predicted_cost))
        if call.model not in self._queues and self._tenants.has_room(call.tenant):
            # Nobody waits for what it wants: most calls, most of the time.
            rank = self._policy.rank(application.view, entry.view)
            engine, _ = self._engine_for(call, rank)
            if engine is not None:
                self._entries[call.call_id] = entry
                self._tenants.came(call.tenant)
                return [self._send(entry, engine, rank, now)]
        application.waiting.add(call.call_id)
        decisions = self._make_room(application, entry)
        if not admission.has_memory(call, self._load, self._limits):
            application.waiting.remove(call.call_id)
            self._leave_if_idle(application)
            return [End(call.call_id, Outcome.REJECTED, Refusal.QUEUE_FULL)]
        self._enqueue(application, entry)
        decisions += self._fill_queue(call.model, self._queues[call.model], now)
        if entry.status is CallStatus.WAITING and self._tenants.has_too_many_waiting(call.tenant):
            decisions += self._end(call.call_id, Outcome.REJECTED, Refusal.QUOTA_EXCEEDED, None)
        return decisions

    def _make_room(self, application: WithCalls, entry: Entry) -> list[Decision]:
        """For its body, if another gives way to it (see `shedding`)."""
        if admission.has_memory(entry.call, self._load, self._limits):
            return []
        rank = self._policy.rank(application.view, entry.view)
        victim = self._bodies.gives_way_to(rank, entry.call.body_bytes)
        return self._refuse(self._entries[victim].call, Refusal.SHED) if victim is not None else []

    def _enqueue(self, application: WithCalls, entry: Entry) -> None:
        call = entry.call
        self._entries[call.call_id] = entry
        queue = self._queues.get(call.model)
        if queue is None:
            queue = self._queues[call.model] = Lanes(self._tenants.has_room)
        rank = self._policy.rank(application.view, entry.view)
        queue.push(call.call_id, call.application_id, rank, self._tenants.lane_of(call.tenant))
        self._bodies.push(call.call_id, rank, call.body_bytes)
        self._tenants.came(call.tenant)
        self._load.num_calls += 1
        self._load.num_bytes += call.body_bytes
        self._set_deadline(call)

    def _set_deadline(self, call: Call) -> None:
        heapq.heappush(self._deadlines, (call.deadline_at, call.call_id))
        if len(self._deadlines) > 2 * self._load.num_calls + MIN_HEAP_TO_COMPACT:
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
            self._tenants.left(entry.call.tenant)
        else:
            assert entry.engine is not None
            entry.engine.ended(call_id)
            application.dispatched.remove(call_id)
            self._give_room(entry.call.tenant)
        self._move(entry, CallStatus.ENDED)
        del self._entries[call_id]
        decisions: list[Decision] = [End(call_id, outcome, refusal)]
        if usage is not None:
            self._policy.charged(entry.call.application_id, usage.prompt_tokens, usage.completion_tokens)
            decisions += self._refresh(application)
        self._leave_if_idle(application)
        return decisions

    def _leave_if_idle(self, application: WithCalls) -> None:
        if not application.has_calls:
            application_id = application.view.application_id
            self._policy.left(application_id)
            self._drop_if_done(application_id, application)

    def _leave_queue(self, entry: Entry) -> None:
        queue = self._queues[entry.call.model]
        queue.remove(entry.call.call_id)
        self._bodies.remove(entry.call.call_id)
        if not queue:
            del self._queues[entry.call.model]
        self._applications[entry.call.application_id].waiting.remove(entry.call.call_id)
        self._load.num_calls -= 1
        self._load.num_bytes -= entry.call.body_bytes

    @staticmethod
    def _move(entry: Entry, status: CallStatus) -> None:
        assert status in LEGAL_TRANSITIONS[entry.status], f"{entry.call.call_id}: {entry.status} → {status}"
        entry.status = status

    # --- dispatching ------------------------------------------------------------------------------------------------

    def _fill(self, now: float) -> list[Decision]:
        return [d for model, queue in list(self._queues.items()) for d in self._fill_queue(model, queue, now)]

    def _fill_queue(self, model: str, queue: Lanes, now: float) -> list[Decision]:
        """Send the first in order as long as an engine admits it."""
        decisions: list[Decision] = []
        aside: list[tuple[str, str]] = []
        while (first := queue.first()) is not None:
            call_id, rank = first
            entry = self._entries[call_id]
            lane = self._tenants.lane_of(entry.call.tenant)
            if lane != COMMON and lane != queue.lane_of(call_id):
                queue.move(call_id, lane)
                continue
            if entry.call.deadline_at <= now:
                decisions += self._refuse(entry.call, Refusal.QUEUE_TIMEOUT)
                continue
            engine, is_particular = self._engine_for(entry.call, rank)
            if engine is not None:
                self._leave_queue(entry)
                decisions.append(self._send(entry, engine, rank, now))
                continue
            if not is_particular or len(aside) == MAX_ASIDE:
                break
            # Others could take what comes after it, so it must not stand in the way.
            aside.append((call_id, queue.lane_of(call_id)))
            queue.move(call_id, ASIDE)
        for call_id, lane in aside:
            queue.move(call_id, lane)
        return decisions

    def _engine_for(self, call: Call, rank: float) -> tuple[EngineWindow | None, bool]:
        """One that admits it, if any does; and whether some that serve its model were not asked."""
        serving = [engine for engine in self._engines.values() if engine.is_up and call.model in engine.models]
        fit_for_it = fit_for(call, serving)
        open_to_it = [engine for engine in fit_for_it if engine.admits(call, rank)]
        if len(open_to_it) > 1:
            open_to_it = [max(open_to_it, key=lambda e: (e.room(call.application_id), e.name))]
        return (open_to_it[0] if open_to_it else None), len(fit_for_it) < len(serving)

    def _send(self, entry: Entry, engine: EngineWindow, rank: float, now: float) -> Dispatch:
        call = entry.call
        self._tenants.sent(call.tenant)
        engine.sent(call, rank, now)
        entry.engine = engine
        self._applications[call.application_id].dispatched.add(call.call_id)
        self._move(entry, CallStatus.DISPATCHED)
        return Dispatch(call.call_id, engine.name, rank)

    def _give_room(self, tenant: str) -> None:
        """One of its calls has ended."""
        self._tenants.ended(tenant)
        if self._tenants.lane_of(tenant) != COMMON:
            for queue in self._queues.values():
                queue.reopen(tenant)

    def _served(self) -> set[str]:
        """Models of the engines that are up."""
        return {model for engine in self._engines.values() if engine.is_up for model in engine.models}

    # --- leaving undispatched ---------------------------------------------------------------------------------------

    def _refuse(self, call: Call, refusal: Refusal) -> list[Decision]:
        return self._end(call.call_id, Outcome.EVICTED, refusal, None)

    def _shed_largest(self, num_bytes: int) -> list[Decision]:
        """Waiting calls whose bodies make up at least so much, if there are as many."""
        decisions: list[Decision] = []
        while num_bytes > 0 and (largest := self._bodies.largest()) is not None:
            call = self._entries[largest].call
            num_bytes -= max(1, call.body_bytes)
            decisions += self._refuse(call, Refusal.SHED)
        return decisions

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
        served = self._served()
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
