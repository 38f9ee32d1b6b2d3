"""The clock against the plainest model of its rules, event by event and bit for bit.

The model keeps no heap and no running sums: it looks at every application at every step.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.fairness import ApplicationId, KvTokenTime, VirtualClock, VirtualTime, Weight

IDS = st.sampled_from([ApplicationId(letter) for letter in "abcdef"])
COSTS = st.one_of(st.integers(0, 40).map(float), st.floats(0, 1e6), st.sampled_from([0.0, 0.1, 1e-300, 1e15])).map(
    KvTokenTime
)
SERVICES = st.one_of(st.integers(0, 60).map(float), st.floats(0, 1e6), st.sampled_from([0.0, 5e-324, 1e300])).map(
    KvTokenTime
)
WEIGHTS = st.one_of(st.just(1000), st.integers(1, 5000), st.just(1_000_000_000)).map(Weight)


class Model:
    """Rows of [start, finish, weight, is_open]; backlogged is whoever has finish > V."""

    def __init__(self) -> None:
        self.virtual_time = 0.0
        self.rows: dict[ApplicationId, list[float]] = {}

    def backlogged(self) -> list[ApplicationId]:
        ahead = [(row[1], name) for name, row in self.rows.items() if row[1] > self.virtual_time]
        return [name for _, name in sorted(ahead)]

    def weight_sum(self) -> int:
        return sum(int(self.rows[name][2]) for name in self.backlogged())

    def arrive(self, name: ApplicationId, cost: float, weight: int) -> float:
        row = self.rows.get(name)
        if row is None or not row[3]:
            start = self.virtual_time if row is None else row[1]
            self.rows[name] = row = [start, start + cost * 1000 / weight, weight, True]
        return row[1]

    def revise(self, name: ApplicationId, cost: float) -> None:
        row = self.rows[name]
        row[1] = row[0] + cost * 1000 / row[2]

    def close(self, name: ApplicationId) -> None:
        self.rows[name][3] = False
        self.forget_finished()

    def serve(self, service: float) -> None:
        while service > 0 and (ahead := self.backlogged()):
            finish, weights = self.rows[ahead[0]][1], self.weight_sum()
            needed = (finish - self.virtual_time) * weights / 1000
            if service < needed:
                self.virtual_time = min(finish, self.virtual_time + service * 1000 / weights)
                break
            self.virtual_time, service = finish, service - needed
        self.forget_finished()

    def restore(self, virtual_time: float) -> None:
        self.virtual_time = max(self.virtual_time, virtual_time)
        self.forget_finished()

    def forget_finished(self) -> None:
        self.rows = {name: row for name, row in self.rows.items() if row[3] or row[1] > self.virtual_time}


class ClockMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.clock, self.model, self.seen = VirtualClock(), Model(), 0.0

    def open_ids(self) -> list[ApplicationId]:
        return sorted(name for name, row in self.model.rows.items() if row[3])

    @rule(name=IDS, cost=COSTS, weight=WEIGHTS)
    def arrive(self, name: ApplicationId, cost: KvTokenTime, weight: Weight) -> None:
        assert self.clock.arrive(name, cost, weight) == self.model.arrive(name, cost, weight)

    @rule(service=SERVICES)
    def serve(self, service: KvTokenTime) -> None:
        self.model.serve(service)
        assert self.clock.serve(service) == self.model.virtual_time

    @precondition(lambda self: self.model.backlogged())
    @rule(data=st.data())
    def serve_exactly_to_a_departure(self, data: st.DataObject) -> None:
        finish = self.model.rows[self.model.backlogged()[0]][1]
        self.serve(KvTokenTime((finish - self.model.virtual_time) * self.model.weight_sum() / 1000))

    @precondition(lambda self: self.open_ids())
    @rule(data=st.data(), cost=COSTS)
    def revise(self, data: st.DataObject, cost: KvTokenTime) -> None:
        name = data.draw(st.sampled_from(self.open_ids()))
        self.model.revise(name, cost)
        assert self.clock.revise(name, cost) == self.model.rows[name][1]

    @precondition(lambda self: self.open_ids())
    @rule(data=st.data())
    def revise_exactly_to_the_clock(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.open_ids()))
        start, _, weight, _ = self.model.rows[name]
        cost = min(1e15, max(0.0, (self.model.virtual_time - start) * weight / 1000))
        self.model.revise(name, cost)
        assert self.clock.revise(name, KvTokenTime(cost)) == self.model.rows[name][1]

    @precondition(lambda self: self.open_ids())
    @rule(data=st.data(), cost=st.none() | COSTS)
    def close(self, data: st.DataObject, cost: KvTokenTime | None) -> None:
        name = data.draw(st.sampled_from(self.open_ids()))
        if cost is not None:
            self.model.revise(name, cost)
        finish = self.model.rows[name][1]
        self.model.close(name)
        assert self.clock.close(name, cost) == finish

    @rule(behind=st.floats(-1e5, 1e5))
    def restore(self, behind: float) -> None:
        reading = max(0.0, self.model.virtual_time - behind)
        self.model.restore(reading)
        assert self.clock.restore(VirtualTime(reading)) == self.model.virtual_time

    @invariant()
    def clock_and_model_agree(self) -> None:
        clock, model = self.clock, self.model
        assert clock.virtual_time == model.virtual_time
        assert clock.backlogged() == model.backlogged()
        assert clock.weight_sum == model.weight_sum()
        assert len(clock) == len(model.rows)
        for name, (start, finish, _, is_open) in model.rows.items():
            assert (clock.start_time(name), clock.finish_time(name)) == (start, finish)
            assert clock.is_open(name) == is_open
            assert clock.is_backlogged(name) == (finish > model.virtual_time)

    @invariant()
    def time_never_goes_back(self) -> None:
        assert self.clock.virtual_time >= self.seen
        self.seen = self.clock.virtual_time


ClockMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
test_clock_against_model = ClockMachine.TestCase
