"""The event loop: a heap of (time, order, what to do). One gateway, one engine, the applications of one workload."""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from gateway.engines.patched import engine_state
from gateway.engines.wire import rank_to_wire
from gateway.fairness.cost import call_cost, counted_cost
from gateway.fairness.policies import PolicyName, policy_named
from gateway.fairness.shares import SharesName, shares_named
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Tokens, VirtualTime
from gateway.ports import FinishedCall, Prediction
from gateway.replay.model import (
    Charging,
    Completion,
    EngineModel,
    LateRule,
    Moment,
    Refine,
    Run,
    SimulatedApplication,
    Timing,
    as_measured,
)
from gateway.scheduling.admission import Limits
from gateway.scheduling.course import WORTH_REVISING, Course, is_worth_revising
from gateway.scheduling.events import (
    ApplicationForgotten,
    ApplicationRanked,
    CallAnswering,
    CallArrived,
    CallEnded,
    Decision,
    Dispatch,
    End,
    EngineReported,
    Event,
    Rerank,
)
from gateway.scheduling.model import Call, Outcome, Usage
from gateway.scheduling.scheduler import Scheduler
from gateway.workloads.traces import RecordedCall

_ENGINE = "engine"
_MODEL = "model"
_MAX_EMPTY_STEPS = 100
_UNLIMITED = Limits(max_queued_calls=1 << 60, max_queued_bytes=1 << 60)


@dataclass(slots=True)
class _Running:
    application: SimulatedApplication
    service_at_arrival: float
    waiting_for: dict[int, set[int]]
    """By call: those of its `after` that have not ended."""
    num_unfinished: int
    num_unsettled: int
    """Calls that have not ended, or whose record has not been read."""
    course: Course
    predicted: KvTokenTime
    """As it is now: refined as it runs, where that is asked for."""
    cost: KvTokenTime
    """What its finish time goes by: what the late rule makes of that."""
    service: float = 0.0
    charged: float = 0.0
    finished_at: float = math.nan
    service_at_finish: float = math.nan


@dataclass(slots=True)
class _CallInFlight:
    running: _Running
    call: RecordedCall
    prompt: Sequence[int] = field(repr=False)


class Simulation:
    """Make one for each run; `engine` must be fresh."""

    def __init__(
        self,
        applications: Sequence[SimulatedApplication],
        policy: PolicyName,
        engine: EngineModel,
        timing: Timing,
        *,
        margin: int,
        shares: SharesName = "application",
        late_rule: LateRule = counted_cost,
        charging: Charging = as_measured,
        refine: Refine | None = None,
        worth_revising: float = WORTH_REVISING,
        moments_every_s: float | None = None,
    ) -> None:
        self._applications = applications
        self._policy: PolicyName = policy
        self._engine = engine
        self._timing = timing
        self._late_rule = late_rule
        self._charging = charging
        self._refine = refine
        self._worth_revising = worth_revising
        self._moments_every_s = moments_every_s
        self._moments: list[Moment] = []
        self._scheduler = Scheduler(
            policy_named(policy), [_ENGINE], limits=_UNLIMITED, margin=margin, unreachable_grace_s=math.inf
        )
        self._clock = shares_named(shares)
        self._is_by_tenant = shares == "tenant"
        self._of_tenant: dict[str, dict[ApplicationId, _Running]] = {}
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._running: dict[ApplicationId, _Running] = {}
        self._calls: dict[str, _CallInFlight] = {}
        self._num_calls = 0
        self._completions: dict[ApplicationId, Completion] = {}
        self._is_stepping = False
        self._read_asked_at: float | None = None
        self._is_polling = False
        self._since = 0
        self._counter = 0.0
        self._preemptions = 0
        self._kv_tokens = 0
        self._num_in_engine = 0
        """Calls sent whose record has not been read."""
        self._num_empty_steps = 0

    def run(self) -> Run:
        self._read(0.0)
        for application in self._applications:
            self._at(application.arrives_at, self._application_arrives, application)
        if self._moments_every_s is not None:
            self._at(0.0, self._note_moment)
        while self._events:
            self._now, _, act, arguments = heapq.heappop(self._events)
            act(*arguments)
        assert not self._running, "the simulation ended with applications unfinished"
        completions = tuple(self._completions[a.application_id] for a in self._applications)
        makespan_s = max(c.finished_at for c in completions) - min(c.arrived_at for c in completions)
        return Run(
            self._policy,
            completions,
            self._engine.num_steps,
            self._preemptions,
            makespan_s,
            self._kv_tokens,
            self._engine.mean_kv_use,
            self._engine.longest_stay,
            tuple(self._moments),
        )

    def _at(self, time: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (time, next(self._order), act, arguments))

    # --- applications -----------------------------------------------------------------------------------------------

    def _application_arrives(self, application: SimulatedApplication) -> None:
        running = _Running(
            application,
            service_at_arrival=self._engine.service,
            waiting_for={call.call_id: set(call.after) for call in application.calls},
            num_unfinished=len(application.calls),
            num_unsettled=len(application.calls),
            course=Course(Prediction(application.predicted_cost, "simulated")),
            predicted=application.predicted_cost,
            cost=application.predicted_cost,
        )
        self._running[application.application_id] = running
        tenant = _tenant_of(application)
        self._of_tenant.setdefault(tenant, {})[application.application_id] = running
        self._clock.arrive(
            application.application_id,
            application.predicted_cost,
            UNIT_WEIGHT,
            tenant=tenant,
            tenant_weight=UNIT_WEIGHT,
        )
        self._ranked(running)
        for call in application.calls:
            if not call.after:
                self._at(self._now + call.delay_s, self._call_arrives, running, call)

    def _ranked(self, running: _Running) -> None:
        """Where tenants have the shares, what one of its applications does may move all of them."""
        application_id = running.application.application_id
        moved = self._of_tenant[_tenant_of(running.application)] if self._is_by_tenant else {application_id: running}
        for one, finish_time in self._clock.finish_times(moved).items():
            self._place(moved[one], finish_time)

    def _place(self, running: _Running, finish_time: VirtualTime) -> None:
        application = running.application
        self._tell(
            ApplicationRanked(
                application_id=application.application_id,
                arrived_at=application.arrives_at,
                weight=UNIT_WEIGHT,
                virtual_finish_time=finish_time,
                predicted_cost=running.predicted,
                service=KvTokenTime(running.charged),
            )
        )

    def _charge(self, running: _Running, record: FinishedCall) -> None:
        running.service += record.service
        running.charged += self._charging(record)
        running.course.call_ended(record.call_id)
        self._revise(running)
        self._ranked(running)

    def _revise(self, running: _Running) -> None:
        """By what it has had, and, where predictions are refined, by how far it has come."""
        application_id, service = running.application.application_id, KvTokenTime(running.charged)
        progress = running.course.progress(service)
        if self._refine is not None and progress is not None:
            refined = self._refine(application_id, progress)
            if refined is not None and is_worth_revising(refined, running.predicted, self._worth_revising):
                running.predicted = refined
        cost = self._late_rule(running.predicted, service)
        if cost != running.cost or self._is_by_tenant:
            running.cost = cost
            self._clock.update(application_id, cost, service)

    def _close(self, running: _Running) -> None:
        application = running.application
        self._clock.close(application.application_id, KvTokenTime(running.charged))
        self._tell(ApplicationForgotten(application.application_id))
        del self._running[application.application_id]
        siblings = self._of_tenant[_tenant_of(application)]
        del siblings[application.application_id]
        if siblings and self._is_by_tenant:
            self._ranked(next(iter(siblings.values())))
        self._completions[application.application_id] = Completion(
            application.application_id,
            application.kind,
            application.arrives_at,
            running.finished_at,
            KvTokenTime(running.service),
            running.service_at_arrival,
            running.service_at_finish,
            application.tenant,
        )

    # --- calls ------------------------------------------------------------------------------------------------------

    def _call_arrives(self, running: _Running, recorded: RecordedCall) -> None:
        call_id = f"call-{self._num_calls:032x}"
        self._num_calls += 1
        prompt = running.application.prompts[recorded.call_id]
        self._calls[call_id] = _CallInFlight(running, recorded, prompt)
        prompt_tokens, output_tokens = Tokens(len(prompt)), Tokens(recorded.completion_tokens)
        running.course.call_began(call_id, prompt_tokens)
        if self._refine is not None:
            self._revise(running)
            self._ranked(running)
        self._tell(
            CallArrived(
                Call(
                    call_id=call_id,
                    application_id=running.application.application_id,
                    model=_MODEL,
                    arrived_at=self._now,
                    deadline_at=math.inf,
                    prompt_tokens=prompt_tokens,
                    max_tokens=output_tokens,
                    predicted_cost=call_cost(prompt_tokens, output_tokens),
                    body_bytes=0,
                )
            )
        )

    def _call_ended(self, call_id: str) -> None:
        in_flight = self._calls[call_id]
        running, recorded = in_flight.running, in_flight.call
        usage = Usage(Tokens(len(in_flight.prompt)), Tokens(recorded.completion_tokens))
        self._tell(CallEnded(call_id, Outcome.COMPLETED, usage))
        running.num_unfinished -= 1
        if not running.num_unfinished:
            running.finished_at = self._now
            running.service_at_finish = self._engine.service
            return
        for call in running.application.calls:
            open_ones = running.waiting_for[call.call_id]
            if recorded.call_id in open_ones:
                open_ones.remove(recorded.call_id)
                if not open_ones:
                    self._at(self._now + call.delay_s, self._call_arrives, running, call)

    # --- the scheduler ----------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        for decision in self._scheduler.handle(event, self._now):
            self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Dispatch(call_id, _, rank):
                self._num_in_engine += 1
                self._at(self._now + self._timing.transit_s, self._reaches_engine, call_id, rank_to_wire(rank))
                if not self._is_polling:
                    self._is_polling = True
                    self._at(self._now + self._timing.poll_interval_s, self._poll)
            case Rerank(_, ranks):
                wire = {application_id: rank_to_wire(rank) for application_id, rank in ranks.items()}
                self._at(self._now + self._timing.transit_s, self._engine.rerank, wire)
            case End(call_id, outcome, refusal):
                assert outcome is Outcome.COMPLETED, f"{call_id}: {outcome} {refusal}"

    # --- the engine -------------------------------------------------------------------------------------------------

    def _reaches_engine(self, call_id: str, rank: int) -> None:
        in_flight = self._calls[call_id]
        self._engine.add(
            call_id,
            in_flight.running.application.application_id,
            rank,
            in_flight.prompt,
            in_flight.call.completion_tokens,
            self._now,
        )
        self._step_if_idle()

    def _step_if_idle(self) -> None:
        if not self._is_stepping and self._engine.has_work:
            self._is_stepping = True
            work = self._engine.begin_step()
            # vLLM may preempt its last candidate and compute nothing; the next step goes on.
            self._num_empty_steps = 0 if work.num_tokens else self._num_empty_steps + 1
            assert self._num_empty_steps < _MAX_EMPTY_STEPS, "the engine is stuck: a call is larger than its memory"
            self._at(self._now + self._timing.step.of(work.num_tokens, work.num_kv_tokens), self._step_ends)

    def _step_ends(self) -> None:
        self._is_stepping = False
        end = self._engine.end_step()
        for call_id in end.answering:
            self._tell(CallAnswering(call_id))
        for call_id in end.finished:
            self._call_ended(call_id)
        if self._read_asked_at is not None:
            asked_at, self._read_asked_at = self._read_asked_at, None
            self._read(asked_at)
        self._step_if_idle()

    # --- readings of the engine -------------------------------------------------------------------------------------

    def _poll(self) -> None:
        """An engine answers between two steps."""
        if self._is_stepping:
            self._read_asked_at = self._now
        else:
            self._read(self._now)

    def _read(self, asked_at: float) -> None:
        state = engine_state(self._engine.state(self._since))
        self._since = state.next_sequence
        self._preemptions, self._kv_tokens = state.preemptions, state.capacity_kv_tokens
        assert state.service is not None  # the patch always tells
        self._clock.serve(KvTokenTime(state.service - self._counter))
        self._counter = state.service
        for record in state.finished:
            running = self._calls.pop(record.call_id).running
            running.num_unsettled -= 1
            self._num_in_engine -= 1
            self._charge(running, record)
            if not running.num_unsettled:
                self._close(running)
        self._tell(EngineReported(_ENGINE, asked_at, (_MODEL,), replace(state, finished=())))
        self._is_polling = bool(self._num_in_engine)
        if self._is_polling:
            self._at(self._now + self._timing.poll_interval_s, self._poll)

    # --- moments ----------------------------------------------------------------------------------------------------

    def _note_moment(self) -> None:
        assert self._moments_every_s is not None
        live = self._engine.live_service()
        service = {one: running.service + live.get(one, 0.0) for one, running in self._running.items()}
        dues = self._clock.dues(service)
        lag = {one: dues[one] - attained for one, attained in service.items()}
        self._moments.append(Moment(self._now, service, lag))
        if self._running or self._events:
            self._at(self._now + self._moments_every_s, self._note_moment)


def _tenant_of(application: SimulatedApplication) -> str:
    """One without a tenant is its own."""
    return application.tenant or application.application_id
