"""Whatever happens in whatever order: every call ends once, dispatch is in order, nothing is left over."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from gateway.fairness.policies import POLICY_NAMES
from gateway.fairness.units import ApplicationId, Tokens
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
    Event,
    Rerank,
    TimePassed,
)
from gateway.scheduling.model import Outcome, Usage
from tests.scheduling.builders import call, make_scheduler, ranked, report

APPLICATIONS = [f"a{i}" for i in range(4)]
ENGINES = ["e1", "e2"]
MODELS = ["m", "n"]


class Histories(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(POLICY_NAMES), margin=st.integers(1, 3))
    def begin(self, policy: str, margin: int) -> None:
        self.scheduler = make_scheduler(policy, tuple(ENGINES), margin=margin, max_calls=6)  # type: ignore[arg-type]
        self.now = 0.0
        self.ended: dict[str, Outcome] = {}
        self.dispatched: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.count = 0
        self.models: dict[str, str] = {}

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
                    self.waiting.remove(call_id)
                    self.dispatched[call_id] = engine
                    self.check_order(decision)
                case Rerank(engine, ranks):
                    assert engine in self.dispatched.values()
                    assert all(rank >= 0 for rank in ranks.values())
        return decisions

    def check_order(self, dispatch: Dispatch) -> None:
        """Nobody of the same model is left waiting who ranks before it."""
        queue = self.scheduler._queues.get(self.models[dispatch.call_id])
        first = queue.first() if queue is not None else None
        assert first is None or dispatch.rank <= first[1]

    @rule(name=st.sampled_from(APPLICATIONS), finish=st.integers(0, 5), service=st.integers(0, 300))
    def rank(self, name: str, finish: int, service: int) -> None:
        self.tell(ranked(name, float(finish), service=float(service)))

    @rule(
        target=calls,
        name=st.sampled_from(APPLICATIONS),
        prompt=st.integers(1, 400),
        model=st.sampled_from(MODELS),
        patience=st.integers(1, 50),
    )
    def arrive(self, name: str, prompt: int, model: str, patience: int) -> str:
        self.count += 1
        call_id = f"c{self.count}"
        self.tell(ranked(name, float(self.count % 3)))
        self.waiting.add(call_id)
        self.models[call_id] = model
        arrived = call(call_id, name, prompt=prompt, at=self.now, deadline=self.now + patience, model=model)
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
        assert all(not window.in_flight for window in self.scheduler._engines.values())


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
