"""Who gives way when there is no memory: by the rule itself, and through the scheduler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.events import CallArrived, CallEnded, Decision, Dispatch, End, MemoryRead
from gateway.scheduling.model import Outcome, Refusal
from gateway.scheduling.process_memory import resident_bytes, watch_memory
from gateway.scheduling.scheduler import Scheduler
from gateway.scheduling.shedding import Bodies
from tests.scheduling.builders import call, make_scheduler, ranked, report


def shed(call_id: str) -> End:
    return End(call_id, Outcome.EVICTED, Refusal.SHED)


FULL = Refusal.QUEUE_FULL


def full_of(sizes: dict[str, int], **options: int) -> Scheduler:
    """One waiting call of each application; their finish times are in the order of their names."""
    scheduler = make_scheduler(max_bytes=sum(sizes.values()), **options)
    for name, size in sizes.items():
        scheduler.handle(ranked(name, float(ord(name[0]))), 0)
        assert scheduler.handle(CallArrived(call(name, name, size=size)), 0) == []
    return scheduler


def arrive(scheduler: Scheduler, name: str, size: int) -> list[Decision]:
    scheduler.handle(ranked(name, float(ord(name[0]))), 0)
    return scheduler.handle(CallArrived(call(f"{name}-new", name, size=size)), 0)


def test_a_small_call_of_a_small_application_takes_the_place_of_the_last_that_is_not_smaller() -> None:
    scheduler = full_of({"m": 100, "z": 500, "x": 500, "y": 20})
    assert arrive(scheduler, "a", 60) == [shed("z")]
    assert arrive(scheduler, "a2", 440) == []  # into what z has left
    assert arrive(scheduler, "a3", 60) == [shed("x")]


def test_nobody_gives_way_to_who_comes_later_in_the_order_or_is_larger() -> None:
    scheduler = full_of({"m": 100, "x": 50})
    assert arrive(scheduler, "z", 10) == [End("z-new", Outcome.REJECTED, FULL)]
    assert arrive(scheduler, "a", 101) == [End("a-new", Outcome.REJECTED, FULL)]
    assert arrive(scheduler, "m", 10) == [shed("x")]  # m's own call ranks with the newcomer
    assert arrive(scheduler, "n", 200) == [End("n-new", Outcome.REJECTED, FULL)]  # more than there is in all


def test_of_equals_the_newest_gives_way_and_room_is_counted() -> None:
    scheduler = make_scheduler(max_bytes=100)
    scheduler.handle(ranked("z", 999.0), 0)
    for i in range(2):
        scheduler.handle(CallArrived(call(f"z{i}", "z", size=50)), 0)
    assert arrive(scheduler, "a", 50) == [shed("z1")]
    assert arrive(scheduler, "b", 50) == [shed("z0")]
    assert arrive(scheduler, "c", 1) == [End("c-new", Outcome.REJECTED, FULL)]
    assert scheduler._load.num_bytes == 100
    for name in "ab":
        scheduler.handle(CallEnded(f"{name}-new", Outcome.CANCELLED), 0)
    assert (scheduler._load.num_bytes, len(scheduler._bodies)) == (0, 0)


def test_a_place_taken_from_its_own_application() -> None:
    """Under a policy that ranks calls: the application has a call all the while, so nothing of it is forgotten."""
    scheduler = make_scheduler("sjf", max_bytes=100)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(CallArrived(call("long", "a", prompt=900, size=100)), 0)
    assert scheduler.handle(CallArrived(call("short", "a", prompt=1, size=100)), 0) == [shed("long")]
    assert scheduler.handle(report(), 0) == [Dispatch("short", "e1", 1.0)]


def test_a_place_in_the_order_that_changed() -> None:
    scheduler = full_of({"m": 100, "n": 100})
    scheduler.handle(ranked("n", 1.0), 0)
    assert arrive(scheduler, "b", 100) == [shed("m")]


def test_short_of_memory_the_largest_go_and_nothing_comes_until_there_is_some() -> None:
    scheduler = full_of({"a": 10, "b": 5000, "c": 300, "d": 40}, margin=1)
    assert scheduler.handle(MemoryRead(5100), 0) == [shed("b"), shed("c")]
    assert arrive(scheduler, "e", 1) == [End("e-new", Outcome.REJECTED, FULL)]
    assert scheduler.handle(MemoryRead(0), 0) == []
    assert arrive(scheduler, "e", 1) == []
    assert scheduler.handle(MemoryRead(10**9), 0) == [shed(call_id) for call_id in ("d", "a", "e-new")]
    # Nothing is here whose end could give memory back: one is let in.
    assert arrive(scheduler, "f", 1) == []
    assert arrive(scheduler, "g", 1) == [End("g-new", Outcome.REJECTED, FULL)]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(0, 5), st.booleans()), max_size=80),
    st.integers(0, 5),
    st.integers(0, 40),
)
def test_like_looking_at_all_of_them(calls: list[tuple[int, int, int, bool]], rank: int, size: int) -> None:
    """The same as the reference where sizes are powers of two; never a victim that the rule forbids elsewhere."""
    bodies = Bodies()
    waiting: dict[str, tuple[float, int, int]] = {}
    for i, (first, exponent, second, leaves) in enumerate(calls):
        bodies.push(f"c{i}", float(first), 1 << exponent)
        bodies.rerank(f"c{i}", float(second))
        waiting[f"c{i}"] = (float(second), i, 1 << exponent)
        if leaves:
            bodies.remove(f"c{i}")
            del waiting[f"c{i}"]
    allowed = [(held, call_id) for call_id, held in waiting.items() if held[0] > rank and held[2] >= 1 << size]
    assert bodies.gives_way_to(float(rank), 1 << size) == max(allowed, default=(None, None))[1]
    odd = bodies.gives_way_to(float(rank), (1 << size) + 1)
    assert odd is None or (waiting[odd][0] > rank and waiting[odd][2] > 1 << size)
    largest = max(((held[2], held[0], held[1], call_id) for call_id, held in waiting.items()), default=None)
    assert bodies.largest() == (None if largest is None else largest[3])


def test_reranking_for_ever_does_not_grow_the_heaps() -> None:
    bodies = Bodies()
    for name in "ab":
        bodies.push(name, 0.0, 100)
    for i in range(1000):
        bodies.rerank("a", float(i % 7))
    assert len(bodies._classes[(100).bit_length()].heap) < 100
    assert bodies.gives_way_to(0.0, 100) == "a"


async def test_the_process_is_read_until_there_is_nothing_to_read(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.scheduling.process_memory._INTERVAL_S", 0.0)
    readings = iter([90, 130, 120, 100, None])
    told: list[MemoryRead] = []
    await watch_memory(100, told.append, lambda: next(readings))
    assert [event.excess_bytes for event in told] == [-10, 30, 20, 0]
    assert caplog.text.count("more than 100") == 1
    assert "has no effect" in caplog.text


def test_this_process_holds_something() -> None:
    held = resident_bytes()
    assert held is None or 2**20 < held < 2**40
