import pytest

from gateway.fairness.units import ApplicationId
from gateway.scheduling.events import CallArrived, CallEnded, Dispatch
from gateway.scheduling.model import Outcome, Waiting
from gateway.scheduling.places import Places
from tests.scheduling.builders import call, make_scheduler, ranked, report


def test_where_a_call_stands_and_how_long_it_will_wait() -> None:
    scheduler = make_scheduler(margin=1)
    places = Places(scheduler)
    scheduler.handle(report(free=0), 0)
    for name, finish in (("a", 1.0), ("b", 2.0)):
        scheduler.handle(ranked(name, finish), 0)
    for i in range(10):
        for name in "ba":
            for decision in scheduler.handle(CallArrived(call(f"{name}{i}", name)), 0):
                if isinstance(decision, Dispatch):
                    places.dispatched(decision.call_id, 0)
    assert (scheduler.num_waiting, scheduler.num_dispatched) == (18, 2)
    assert places.of_call("b0", 0) is None  # it waits no more
    assert places.of_call("nobody's", 0) is None
    # a0 and b0 have left within the least time that a pace is taken over, 2.5 s.
    assert places.of_call("a1", 0) == Waiting(0, pytest.approx(1.25))
    assert places.of_call("b1", 0) == Waiting(9, pytest.approx(12.5))
    assert places.wait_s(ApplicationId("b"), 0) == pytest.approx(12.5)
    assert places.wait_s(ApplicationId("nobody"), 0) is None
    assert places.of_call("a1", 500) == Waiting(0, None)
    assert places.wait_s(ApplicationId("a"), 500) is None


def test_a_dispatch_of_what_has_ended_meanwhile_is_no_pace() -> None:
    scheduler = make_scheduler()
    places = Places(scheduler)
    scheduler.handle(report(), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(CallArrived(call("c", "a")), 0)
    assert scheduler.call("c") is not None
    scheduler.handle(CallEnded("c", Outcome.CANCELLED), 0)
    places.dispatched("c", 0)
    assert scheduler.call("c") is None
