"""Lanes against a list that is looked through from its front."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.fairness.units import ApplicationId
from gateway.scheduling.lanes import COMMON, Lanes

TENANTS = [COMMON, "t1", "t2", "t3"]


class LanesLikeAList(RuleBasedStateMachine):
    """The reference: every call with its (rank, application, arrival) and lane; the first is the least with room."""

    def __init__(self) -> None:
        super().__init__()
        self.room = dict.fromkeys(TENANTS[1:], 1)
        self.lanes = Lanes(lambda tenant: self.room[tenant] > 0)
        self.calls: dict[str, tuple[float, str, int, str]] = {}
        self.count = 0
        self.now = 0.0

    def expected(self) -> tuple[str, float] | None:
        """Of those whose lane is not full."""
        with_room = [(key[:3], id_) for id_, key in self.calls.items() if key[3] == COMMON or self.room[key[3]] > 0]
        first = min(with_room, default=None)
        return None if first is None else (first[1], first[0][0])

    @rule(tenant=st.sampled_from(TENANTS), application=st.sampled_from("xy"), rank=st.integers(0, 4))
    def push(self, tenant: str, application: str, rank: int) -> None:
        self.count += 1
        call_id, application_id = f"c{self.count}", f"{tenant}/{application}"
        self.calls[call_id] = (float(rank), application_id, self.count, tenant)
        self.lanes.push(call_id, ApplicationId(application_id), float(rank), tenant)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), rank=st.integers(0, 4))
    def rerank(self, data: st.DataObject, rank: int) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.calls)))
        self.calls[call_id] = (float(rank), *self.calls[call_id][1:])
        self.lanes.rerank(call_id, float(rank))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.calls)))
        del self.calls[call_id]
        self.lanes.remove(call_id)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), tenant=st.sampled_from(TENANTS))
    def move(self, data: st.DataObject, tenant: str) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.calls)))
        if self.calls[call_id][3] != tenant:
            self.calls[call_id] = (*self.calls[call_id][:3], tenant)
            self.lanes.move(call_id, tenant)
        assert self.lanes.lane_of(call_id) == tenant

    @rule()
    def dispatch(self) -> None:
        expected = self.expected()
        assert self.lanes.first() == expected
        if expected is not None:
            tenant = self.calls.pop(expected[0])[3]
            self.lanes.remove(expected[0])
            if tenant != COMMON:
                self.room[tenant] -= 1

    @rule(tenant=st.sampled_from(TENANTS[1:]))
    def end(self, tenant: str) -> None:
        self.room[tenant] += 1
        self.lanes.reopen(tenant)

    @rule(room=st.lists(st.integers(0, 2), min_size=3, max_size=3))
    def change_caps(self, room: list[int]) -> None:
        self.room = dict(zip(TENANTS[1:], room, strict=True))
        self.lanes.reopen_all()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def ask_for_a_place(self, data: st.DataObject) -> None:
        self.now += 1.0
        call_id = data.draw(st.sampled_from(sorted(self.calls)))
        before = [key for key in self.calls.values() if key[:3] < self.calls[call_id][:3]]
        assert self.lanes.num_before(call_id, self.now) == len(before)

    @invariant()
    def first_and_length_agree(self) -> None:
        assert self.lanes.first() == self.expected()
        assert len(self.lanes) == len(self.calls)
        assert self.lanes.num_capped() == sum(
            lane != COMMON and self.room[lane] <= 0 for *_, lane in self.calls.values()
        )


TestLanesLikeAList = LanesLikeAList.TestCase
TestLanesLikeAList.settings = settings(max_examples=120, stateful_step_count=40, deadline=None, derandomize=True)


def test_thousands_behind_a_cap_are_not_looked_at_again() -> None:
    asked: list[str] = []

    def has_room(tenant: str) -> bool:
        asked.append(tenant)
        return False

    lanes = Lanes(has_room)
    for i in range(5000):
        lanes.push(f"capped{i}", ApplicationId("t/a"), 1.0, "t")
    for i in range(100):
        lanes.push(f"free{i}", ApplicationId("u/a"), 2.0)
        assert lanes.first() == (f"free{i}", 2.0)
        lanes.remove(f"free{i}")
    assert asked == ["t"]


def test_firsts_that_change_for_ever_do_not_pile_up() -> None:
    lanes = Lanes(lambda _: True)
    for name in "ab":
        lanes.push(name, ApplicationId("a"), 0.0)
    for i in range(1000):
        lanes.rerank("a", float(i % 3 - 1))
    assert len(lanes._heads) < 100
    lanes.rerank("a", 9.0)
    assert lanes.first() == ("b", 0.0)


def test_places_are_told_from_an_order_of_at_most_a_second_ago() -> None:
    lanes = Lanes(lambda _: True)
    for i in range(10):
        lanes.push(f"c{i}", ApplicationId("a"), float(i), "t" if i % 2 else COMMON)
    assert [lanes.num_before(f"c{i}", 5.0) for i in (0, 9)] == [0, 9]
    for i in range(5):
        lanes.remove(f"c{i}")
    assert lanes.num_before("c9", 5.9) == 9
    assert lanes.num_before("c9", 6.0) == 4
