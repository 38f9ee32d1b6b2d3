"""Calls that want an engine, or avoid one: their wish is kept, and nobody waits for it but they."""

from dataclasses import replace

import pytest

from gateway.fairness.units import ApplicationId
from gateway.scheduling.engine_choice import MAX_ASIDE
from gateway.scheduling.events import CallArrived, CallEnded, Dispatch, EngineLost
from gateway.scheduling.model import Outcome
from gateway.scheduling.scheduler import Scheduler
from tests.scheduling.builders import call, make_scheduler, ranked, report


@pytest.fixture
def scheduler() -> Scheduler:
    """Two engines that are full, so that calls wait; more memory as told by `report`."""
    scheduler = make_scheduler(engines=("e1", "e2"))
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(ranked("z", 2.0), 0)
    return scheduler


def places(decisions: list[object]) -> dict[str, str]:
    return {decision.call_id: decision.engine for decision in decisions if isinstance(decision, Dispatch)}


def test_a_wanted_engine_is_taken_though_another_has_more_room(scheduler: Scheduler) -> None:
    scheduler.handle(report("e1", free=200), 0)
    scheduler.handle(report("e2", free=1000), 0)
    assert places(scheduler.handle(CallArrived(replace(call("c", "a"), wants="e1")), 0)) == {"c": "e1"}
    assert places(scheduler.handle(CallArrived(replace(call("d", "a"), avoids="e2")), 0)) == {"d": "e1"}
    assert places(scheduler.handle(CallArrived(call("e", "z")), 0)) == {"e": "e2"}


def test_a_call_whose_engine_is_full_lets_others_pass_and_keeps_its_place(scheduler: Scheduler) -> None:
    # e1 is full, and what waits inside it ranks before all that follow.
    scheduler.handle(ranked("0", 0.5), 0)
    scheduler.handle(report("e1", free=0, waiting=9), 0)
    assert places(scheduler.handle(CallArrived(replace(call("inside", "0"), wants="e1")), 0)) == {"inside": "e1"}
    scheduler.handle(CallArrived(replace(call("patient", "a"), wants="e1")), 0)
    scheduler.handle(CallArrived(call("after", "z")), 0)
    scheduler.handle(CallArrived(replace(call("choosy", "z"), wants="e1")), 0)
    assert places(scheduler.handle(report("e2", free=1000), 0)) == {"after": "e2"}
    assert scheduler.counts(ApplicationId("a")) == (1, 0)
    assert places(scheduler.handle(report("e1", as_of=9.0, free=100), 0))["patient"] == "e1"


def test_a_wish_that_cannot_be_is_dropped(scheduler: Scheduler) -> None:
    scheduler.handle(CallArrived(replace(call("lost", "a"), wants="e1")), 0)
    scheduler.handle(CallArrived(replace(call("strange", "a"), wants="no such engine")), 0)
    scheduler.handle(CallArrived(replace(call("alone", "a"), avoids="e2")), 0)
    scheduler.handle(EngineLost("e1"), 0)
    assert places(scheduler.handle(report("e2", free=1000), 0)) == {"lost": "e2", "strange": "e2", "alone": "e2"}


def test_so_many_are_passed_and_no_more(scheduler: Scheduler) -> None:
    for number in range(MAX_ASIDE + 2):
        scheduler.handle(CallArrived(replace(call(f"c{number}", "a"), wants="e1")), 0)
    scheduler.handle(CallArrived(call("after", "z")), 0)
    sent = places(scheduler.handle(report("e1", free=0, waiting=9), 0))
    passed = places(scheduler.handle(report("e2", free=1000), 0))
    assert len(sent) == 1  # the margin
    passed |= places(scheduler.handle(CallArrived(call("later", "z")), 0))
    assert passed == {}
    for number in range(1, 3):
        passed |= places(scheduler.handle(CallEnded(f"c{number}", Outcome.CANCELLED, None), 0))
    assert passed == {"after": "e2", "later": "e2"}
