"""Whatever happens in whatever order: every call ends once, dispatch is in order and within caps, nothing is left."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from gateway.fairness.policies import POLICY_NAMES
from gateway.fairness.units import ApplicationId, Tokens
from gateway.identity.terms import TenantTerms
from gateway.scheduling.events import (
    ApplicationForgotten,
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
    RunningElsewhere,
    TimePassed,
)
from gateway.scheduling.model import Outcome, Usage
from tests.scheduling.builders import call, make_scheduler, ranked, report

TENANT_OF = {"a0": "capped", "a1": "capped", "a2": "free", "a3": "few"}
APPLICATIONS = list(TENANT_OF)
TERMS = {
    "capped": TenantTerms(max_running_calls=2),
    "few": TenantTerms(max_running_calls=1, max_waiting_calls=1),
}
ENGINES = ["e1", "e2"]
MODELS = ["m", "n"]


class Histories(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(POLICY_NAMES), margin=st.integers(1, 3))
    def begin(self, policy: str, margin: int) -> None:
        self.scheduler = make_scheduler(policy, tuple(ENGINES), margin=margin, max_calls=6, terms=TERMS)  # type: ignore[arg-type]
        self.now = 0.0
        self.ended: dict[str, Outcome] = {}
        self.dispatched: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.count = 0
        self.models: dict[str, str] = {}
        self.tenants: dict[str, str] = {}
        self.elsewhere: dict[str, int] = {}

    calls: Bundle[str] = Bundle("calls")

    def tell(self, event: Event) -> list[Decision]:
        decisions = self.scheduler.handle(event, self.now)
        for decision in decisions:
            match decision:
                case End(call_id, outcome):
                    assert call_id not in self.ended, "ended twice"
                    self.ended[call_id] = outcome
                    self.waiting.discard(call_id)
                    self.dispatched.pop(call_id, None)
                case Dispatch(call_id, engine):
                    assert call_id in self.waiting, "dispatched what does not wait"
                    assert self.has_room(self.tenants[call_id]), "dispatched beyond a cap"
                    self.waiting.remove(call_id)
                    self.dispatched[call_id] = engine
                case Rerank(engine, ranks):
                    assert engine in self.dispatched.values()
                    assert all(rank >= 0 for rank in ranks.values())
        for decision in decisions:
            if isinstance(decision, Dispatch):
                self.check_order(decision)
        if isinstance(event, EngineReported | CallEnded | RunningElsewhere):
            self.check_nobody_is_left_out()
        return decisions

    def check_order(self, dispatch: Dispatch) -> None:
        """Nobody of the same model is left waiting who ranks before it and whose tenant has room."""
        lanes = self.scheduler._queues.get(self.models[dispatch.call_id])
        keys = [key for queue in lanes._lanes.values() for key in queue.all_keys()] if lanes is not None else []
        assert all(dispatch.rank <= rank for rank, _, _, call_id in keys if self.has_room(self.tenants[call_id]))

    def running(self, tenant: str) -> int:
        return sum(self.tenants[call_id] == tenant for call_id in self.dispatched)

    def has_room(self, tenant: str) -> bool:
        cap = TERMS[tenant].max_running_calls if tenant in TERMS else None
        return cap is None or self.running(tenant) + self.elsewhere.get(tenant, 0) < cap

    @rule(name=st.sampled_from(APPLICATIONS), finish=st.integers(0, 5), service=st.integers(0, 300))
    def rank(self, name: str, finish: int, service: int) -> None:
        self.tell(ranked(name, float(finish), service=float(service)))

    @rule(
        target=calls,
        name=st.sampled_from(APPLICATIONS),
        prompt=st.integers(1, 400),
        model=st.sampled_from(MODELS),
        patience=st.integers(0, 50),
    )
    def arrive(self, name: str, prompt: int, model: str, patience: int) -> str:
        self.count += 1
        call_id = f"c{self.count}"
        self.tell(ranked(name, float(self.count % 3)))
        self.waiting.add(call_id)
        self.models[call_id] = model
        tenant = self.tenants[call_id] = TENANT_OF[name]
        deadline = self.now + patience
        arrived = call(call_id, name, prompt=prompt, at=self.now, deadline=deadline, model=model, tenant=tenant)
        self.tell(CallArrived(arrived))
        return call_id

    @rule(call_id=calls)
    def answer(self, call_id: str) -> None:
        self.tell(CallAnswering(call_id))

    @rule(call_id=consumes(calls), outcome=st.sampled_from(Outcome), tokens=st.integers(0, 100), again=st.booleans())
    def end(self, call_id: str, outcome: Outcome, tokens: int, again: bool) -> None:
        was_alive = call_id not in self.ended
        decisions = self.tell(CallEnded(call_id, outcome, Usage(Tokens(tokens), Tokens(tokens))))
        assert any(isinstance(d, End) and d.call_id == call_id for d in decisions) == was_alive
        if again:
            assert self.tell(CallEnded(call_id, Outcome.FAILED)) == []

    @rule(
        engine=st.sampled_from(ENGINES),
        free=st.integers(0, 1000),
        waiting=st.integers(0, 3),
        models=st.sampled_from([("m",), ("n",), ("m", "n"), ()]),
        patched=st.booleans(),
        data=st.data(),
    )
    def engine_reports(
        self, engine: str, free: int, waiting: int, models: tuple[str, ...], patched: bool, data: st.DataObject
    ) -> None:
        inside = sorted(call_id for call_id, where in self.dispatched.items() if where == engine)
        theirs = set(data.draw(st.lists(st.sampled_from(inside)))) if inside else set()
        event = report(
            engine,
            self.now,
            models,
            free=free,
            waiting=max(waiting, len(theirs)),
            waiting_calls=theirs,
            patched=patched,
        )
        self.tell(event)

    @rule(engine=st.sampled_from(ENGINES))
    def lose(self, engine: str) -> None:
        self.tell(EngineLost(engine))

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tell(TimePassed())

    @rule(calls=st.dictionaries(st.sampled_from(list(TERMS)), st.integers(0, 2)))
    def others_run(self, calls: dict[str, int]) -> None:
        self.elsewhere = calls
        self.tell(RunningElsewhere(calls))

    @rule(name=st.sampled_from(APPLICATIONS))
    def forget(self, name: str) -> None:
        self.tell(ApplicationForgotten(ApplicationId(name)))

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert self.scheduler.num_waiting == len(self.waiting)
        assert self.scheduler.num_dispatched == len(self.dispatched)
        counts = [self.scheduler.counts(ApplicationId(name)) for name in APPLICATIONS]
        assert sum(waiting for waiting, _ in counts) == len(self.waiting)
        assert sum(running for _, running in counts) == len(self.dispatched)
        assert sum(self.tenants[call_id] == "few" for call_id in self.waiting) <= 1
        capped = {self.tenants[call_id] for call_id in [*self.waiting, *self.dispatched]} & set(TERMS)
        assert self.scheduler.running_of_capped() == {tenant: self.running(tenant) for tenant in capped}

    def check_nobody_is_left_out(self) -> None:
        """An engine that would admit the first of those with room has had it."""
        for model, lanes in self.scheduler._queues.items():
            keys = sorted(key for queue in lanes._lanes.values() for key in queue.all_keys())
            first = next((key for key in keys if self.has_room(self.tenants[key[3]])), None)
            if first is not None:
                serving = [window for window in self.scheduler._engines.values() if model in window.models]
                entry = self.scheduler._entries[first[3]]
                assert not any(window.is_up and window.admits(entry.call, first[0]) for window in serving)

    def teardown(self) -> None:
        """The end of every history: drain, and let what runs finish. Nothing may be left."""
        if not hasattr(self, "scheduler"):
            return
        self.tell(DrainBegan())
        for call_id in list(self.dispatched):
            self.tell(CallEnded(call_id, Outcome.COMPLETED))
        for name in APPLICATIONS:
            self.tell(ApplicationForgotten(ApplicationId(name)))
        assert len(self.ended) == self.count
        assert (self.scheduler.num_waiting, self.scheduler.num_dispatched) == (0, 0)
        assert not self.scheduler._applications
        assert not self.scheduler._queues
        assert not self.scheduler._tenants._calls
        assert all(not window.in_flight for window in self.scheduler._engines.values())


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
