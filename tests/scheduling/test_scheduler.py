"""The scheduler is a log: events in, decisions out, compared for equality."""

import pytest

from gateway.fairness.policies import POLICY_NAMES
from gateway.fairness.units import ApplicationId, Tokens
from gateway.scheduling.engine_window import MAX_MARGINS
from gateway.scheduling.events import (
    ApplicationForgotten,
    CallAnswering,
    CallArrived,
    CallEnded,
    Dispatch,
    DrainBegan,
    End,
    EngineLost,
    Rerank,
    TimePassed,
)
from gateway.scheduling.model import Outcome, Refusal, Usage
from tests.scheduling.builders import call, make_scheduler, ranked, report


def dispatched(decisions: list[object]) -> list[str]:
    return [decision.call_id for decision in decisions if isinstance(decision, Dispatch)]


def test_calls_go_in_order_of_virtual_finish_time_not_of_arrival() -> None:
    scheduler = make_scheduler()
    for name, finish in (("late", 300.0), ("early", 100.0), ("middle", 200.0)):
        scheduler.handle(ranked(name, finish), 0)
        scheduler.handle(CallArrived(call(f"{name}-1", name)), 0)
    assert dispatched(scheduler.handle(report(), 0)) == ["early-1", "middle-1", "late-1"]


def test_ties_by_application_then_by_arrival() -> None:
    scheduler = make_scheduler()
    for name in ("b", "a"):
        scheduler.handle(ranked(name, 100.0), 0)
    for call_id, name in (("b1", "b"), ("a2", "a"), ("b2", "b"), ("a1", "a")):
        scheduler.handle(CallArrived(call(call_id, name)), 0)
    assert dispatched(scheduler.handle(report(), 0)) == ["a2", "a1", "b1", "b2"]


def test_the_engine_gets_what_fits_and_a_margin_and_the_rest_waits_here() -> None:
    scheduler = make_scheduler(margin=2)
    scheduler.handle(ranked("a", 1.0), 0)
    for i in range(10):
        scheduler.handle(CallArrived(call(f"c{i}", "a", prompt=300)), 0)
    assert dispatched(scheduler.handle(report(free=1000), 0)) == ["c0", "c1", "c2", "c3", "c4"]
    assert (scheduler.num_waiting, scheduler.num_dispatched) == (5, 5)
    assert scheduler.counts(ApplicationId("a")) == (5, 5)


def test_sequence_slots_bound_like_memory() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(ranked("a", 1.0), 0)
    for i in range(5):
        scheduler.handle(CallArrived(call(f"c{i}", "a", prompt=1)), 0)
    assert dispatched(scheduler.handle(report(slots=4, running=2), 0)) == ["c0", "c1", "c2"]


def test_an_engine_with_a_queue_gets_only_the_margin() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(ranked("a", 1.0), 0)
    for i in range(3):
        scheduler.handle(CallArrived(call(f"c{i}", "a")), 0)
    assert dispatched(scheduler.handle(report(free=900, waiting=1), 0)) == ["c0"]


def test_the_first_that_does_not_fit_blocks_those_behind_it() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(ranked("big", 1.0), 0)
    scheduler.handle(ranked("small", 2.0), 0)
    for i in range(2):
        scheduler.handle(CallArrived(call(f"big{i}", "big", prompt=900)), 0)
    scheduler.handle(CallArrived(call("small", "small", prompt=1)), 0)
    # big0 does not fit and takes the margin; big1 waits, and small does not slip past it.
    assert dispatched(scheduler.handle(report(free=500), 0)) == ["big0"]


def test_a_newcomer_that_outranks_all_that_wait_inside_is_sent_after_them() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(report(free=0), 0)
    scheduler.handle(ranked("slow", 500.0), 0)
    assert dispatched(scheduler.handle(CallArrived(call("s1", "slow")), 0)) == ["s1"]
    assert dispatched(scheduler.handle(CallArrived(call("s2", "slow")), 0)) == []
    scheduler.handle(ranked("quick", 100.0), 0)
    assert dispatched(scheduler.handle(CallArrived(call("q1", "quick")), 0)) == ["q1"]
    assert dispatched(scheduler.handle(CallArrived(call("q2", "quick")), 0)) == []


def test_newcomers_that_outrank_one_another_are_bounded_too() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(report(free=0), 0)
    for i in range(20):
        scheduler.handle(ranked(f"a{i}", 100.0 - i), 0)
        scheduler.handle(CallArrived(call(f"c{i}", f"a{i}")), 0)
    assert scheduler.num_dispatched == MAX_MARGINS


def test_an_end_makes_room_without_waiting_for_a_report() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(report(free=250), 0)
    for i in range(5):
        scheduler.handle(CallArrived(call(f"c{i}", "a")), 0)
    assert scheduler.num_waiting == 2  # two fit, one is the margin
    decisions = scheduler.handle(CallEnded("c0", Outcome.COMPLETED), 1)
    assert decisions == [End("c0", Outcome.COMPLETED), Dispatch("c3", "e1", 1.0)]


def test_what_was_sent_just_before_a_reading_is_counted_as_if_it_were_in_it() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(report(free=250), 0)
    for i in range(9):
        scheduler.handle(CallArrived(call(f"c{i}", "a")), 10.0)
    assert scheduler.num_dispatched == 3
    # The reading began 10 ms later and does not know of them yet: its free memory is spoken for, and so is the margin.
    assert dispatched(scheduler.handle(report(free=250, as_of=10.01), 10.02)) == []
    # Much later they would be in it.
    assert len(dispatched(scheduler.handle(report(free=250, as_of=20.0), 20.0))) == 3


def test_a_call_that_answers_waits_no_more() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(report(free=0), 0)
    for i in range(2):
        scheduler.handle(CallArrived(call(f"c{i}", "a")), 0)
    assert scheduler.num_dispatched == 1
    scheduler.handle(CallAnswering("c0"), 1)
    scheduler.handle(CallAnswering("unknown"), 1)
    assert dispatched(scheduler.handle(report(free=0, as_of=9.0), 9.0)) == ["c1"]


def test_a_stock_engine_tells_only_how_many_wait() -> None:
    scheduler = make_scheduler(margin=2)
    scheduler.handle(report(free=1000, patched=False), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(ranked("b", 2.0), 0)
    for call_id, name in (("a1", "a"), ("b1", "b")):
        scheduler.handle(CallArrived(call(call_id, name)), 0)
    for i in range(3):
        scheduler.handle(CallArrived(call(f"b{i + 2}", "b", prompt=900)), 0)
    assert scheduler.num_dispatched == 4
    scheduler.handle(CallAnswering("a1"), 5)
    # One waits: of those that do not answer yet, the last in order. So one more may join the margin.
    assert dispatched(scheduler.handle(report(free=0, waiting=1, patched=False, as_of=5), 5)) == ["b4"]


def test_a_changed_finish_time_reorders_the_queue_and_the_engine() -> None:
    scheduler = make_scheduler(margin=1)
    for name, finish in (("a", 100.0), ("b", 200.0), ("c", 300.0)):
        scheduler.handle(ranked(name, finish), 0)
        for i in range(2):
            scheduler.handle(CallArrived(call(f"{name}{i}", name, prompt=1)), 0)
    scheduler.handle(report(free=1, slots=2), 0)
    assert scheduler.counts(ApplicationId("a")) == (0, 2)
    assert scheduler.handle(ranked("a", 900.0), 1) == [Rerank("e1", {ApplicationId("a"): 900.0})]
    assert scheduler.handle(ranked("a", 900.0), 1) == []  # nothing changed
    assert scheduler.handle(ranked("c", 50.0), 1) == []  # nothing of it is in the engine
    ended = scheduler.handle(CallEnded("a0", Outcome.COMPLETED), 2)
    assert dispatched(ended) == ["c0"]


def test_service_reranks_under_las_and_charges_vtc() -> None:
    las = make_scheduler("las")
    las.handle(ranked("a", 1.0), 0)
    las.handle(report(), 0)
    las.handle(CallArrived(call("a1", "a")), 0)
    assert las.handle(ranked("a", 1.0, service=70.0), 1) == [Rerank("e1", {ApplicationId("a"): 70.0})]

    vtc = make_scheduler("vtc")
    vtc.handle(report(), 0)
    vtc.handle(ranked("a", 1.0), 0)
    for call_id in ("a1", "a2"):
        vtc.handle(CallArrived(call(call_id, "a")), 0)
    decisions = vtc.handle(CallEnded("a1", Outcome.COMPLETED, Usage(Tokens(10), Tokens(5))), 1)
    assert decisions == [End("a1", Outcome.COMPLETED), Rerank("e1", {ApplicationId("a"): 20.0})]


def test_an_application_prefers_the_engine_it_is_on() -> None:
    scheduler = make_scheduler(engines=("e1", "e2"))
    scheduler.handle(report("e1", free=800), 0)
    scheduler.handle(report("e2", free=1000), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(ranked("b", 2.0), 0)
    assert scheduler.handle(CallArrived(call("a1", "a", prompt=500)), 0) == [Dispatch("a1", "e2", 1.0)]
    assert scheduler.handle(CallArrived(call("a2", "a", prompt=100)), 0) == [Dispatch("a2", "e2", 1.0)]
    assert scheduler.handle(CallArrived(call("b1", "b", prompt=100)), 0) == [Dispatch("b1", "e1", 2.0)]


def test_calls_go_only_where_their_model_is() -> None:
    scheduler = make_scheduler(engines=("e1", "e2"))
    scheduler.handle(report("e1", models=("m",)), 0)
    scheduler.handle(report("e2", models=("other",)), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    assert scheduler.handle(CallArrived(call("x", "a", model="other")), 0) == [Dispatch("x", "e2", 1.0)]
    assert scheduler.handle(CallArrived(call("y", "a", model="none")), 0) == [
        End("y", Outcome.REJECTED, Refusal.MODEL_NOT_FOUND)
    ]


def test_a_model_that_is_gone_and_one_that_may_come_back() -> None:
    scheduler = make_scheduler(grace_s=5.0)
    scheduler.handle(ranked("a", 1.0), 0)
    assert scheduler.handle(CallArrived(call("early", "a", at=0.0)), 0) == []  # the engine was not heard of yet
    assert scheduler.handle(TimePassed(), 4.9) == []
    assert scheduler.handle(TimePassed(), 5.0) == [End("early", Outcome.EVICTED, Refusal.ENGINE_UNREACHABLE)]

    scheduler.handle(report(free=0, waiting=9), 6)
    scheduler.handle(CallArrived(call("first", "a", at=6.0)), 6)
    scheduler.handle(CallArrived(call("second", "a", at=6.0)), 6)
    assert scheduler.counts(ApplicationId("a")) == (1, 1)
    assert scheduler.handle(TimePassed(), 100) == []  # it waits for memory, not for an engine
    scheduler.handle(EngineLost("e1"), 100)
    scheduler.handle(EngineLost("e1"), 104)  # still the same loss
    assert scheduler.handle(TimePassed(), 104) == []
    assert scheduler.handle(TimePassed(), 105) == [End("second", Outcome.EVICTED, Refusal.ENGINE_UNREACHABLE)]
    # What the engine had ends with its connection.
    assert scheduler.handle(CallEnded("first", Outcome.FAILED), 106) == [End("first", Outcome.FAILED)]

    scheduler.handle(report(free=0, waiting=9), 110)
    scheduler.handle(CallArrived(call("third", "a", at=110.0)), 110)
    scheduler.handle(CallArrived(call("fourth", "a", at=110.0)), 110)
    scheduler.handle(report(models=("another",)), 111)
    assert scheduler.handle(TimePassed(), 111) == [End("fourth", Outcome.EVICTED, Refusal.MODEL_NOT_FOUND)]


def test_only_the_calls_of_the_lost_model_are_stranded() -> None:
    scheduler = make_scheduler(engines=("e1", "e2"), grace_s=1.0)
    scheduler.handle(report("e1", models=("m",), free=0), 0)
    scheduler.handle(report("e2", models=("n",), free=0), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    for model in ("m", "n"):
        for i in range(2):
            scheduler.handle(CallArrived(call(f"{model}{i}", "a", model=model)), 0)
    scheduler.handle(EngineLost("e2"), 0)
    assert scheduler.handle(TimePassed(), 2) == [End("n1", Outcome.EVICTED, Refusal.ENGINE_UNREACHABLE)]


def test_limits_refuse_before_queueing() -> None:
    scheduler = make_scheduler(max_calls=2, max_bytes=100)
    scheduler.handle(ranked("a", 1.0), 0)
    for i in range(2):
        scheduler.handle(CallArrived(call(f"c{i}", "a", size=40)), 0)
    full = [End("c2", Outcome.REJECTED, Refusal.QUEUE_FULL)]
    assert scheduler.handle(CallArrived(call("c2", "a", size=1)), 0) == full
    scheduler.handle(CallEnded("c1", Outcome.CANCELLED), 0)
    assert scheduler.handle(CallArrived(call("c2", "a", size=61)), 0) == full
    assert scheduler.handle(CallArrived(call("c2", "a", size=60)), 0) == []


def test_more_output_than_the_memory_of_any_engine_is_refused() -> None:
    scheduler = make_scheduler()
    scheduler.handle(report(capacity=500, free=500), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    assert scheduler.handle(CallArrived(call("c", "a", max_tokens=501)), 0) == [
        End("c", Outcome.REJECTED, Refusal.COST_EXCEEDS_CAPACITY)
    ]
    assert dispatched(scheduler.handle(CallArrived(call("d", "a", max_tokens=500)), 0)) == ["d"]


def test_deadlines_evict_those_that_wait_and_only_those() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(report(free=0), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    for i in range(3):
        scheduler.handle(CallArrived(call(f"c{i}", "a", deadline=10.0 + i)), 0)
    assert scheduler.handle(TimePassed(), 9.9) == []
    assert scheduler.handle(TimePassed(), 11.0) == [End("c1", Outcome.EVICTED, Refusal.QUEUE_TIMEOUT)]
    assert scheduler.num_dispatched == 1


def test_deadlines_of_ended_calls_do_not_pile_up_and_the_others_hold() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(report(free=0), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    for name, deadline in (("inside", 1e9), ("first", 10.0), ("second", 20.0)):
        scheduler.handle(CallArrived(call(name, "a", deadline=deadline)), 0)
    for i in range(1000):
        scheduler.handle(CallArrived(call(f"c{i}", "a", deadline=5.0)), 1)
        scheduler.handle(CallEnded(f"c{i}", Outcome.CANCELLED), 1)
    assert len(scheduler._deadlines) < 100
    assert scheduler.handle(TimePassed(), 9) == []
    assert scheduler.handle(TimePassed(), 10) == [End("first", Outcome.EVICTED, Refusal.QUEUE_TIMEOUT)]
    assert scheduler.handle(TimePassed(), 20) == [End("second", Outcome.EVICTED, Refusal.QUEUE_TIMEOUT)]


def test_draining_refuses_what_waits_and_what_comes_and_lets_the_rest_finish() -> None:
    scheduler = make_scheduler(margin=1)
    scheduler.handle(report(free=0), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    for i in range(2):
        scheduler.handle(CallArrived(call(f"c{i}", "a")), 0)
    assert scheduler.handle(DrainBegan(), 1) == [End("c1", Outcome.EVICTED, Refusal.SHUTTING_DOWN)]
    assert scheduler.handle(CallArrived(call("c2", "a")), 1) == [End("c2", Outcome.REJECTED, Refusal.SHUTTING_DOWN)]
    assert scheduler.handle(CallEnded("c0", Outcome.COMPLETED), 2) == [End("c0", Outcome.COMPLETED)]
    assert (scheduler.num_waiting, scheduler.num_dispatched) == (0, 0)


def test_a_call_ends_once_and_late_news_changes_nothing() -> None:
    scheduler = make_scheduler()
    scheduler.handle(report(), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(CallArrived(call("c", "a")), 0)
    with pytest.raises(ValueError, match="here already"):
        scheduler.handle(CallArrived(call("c", "a")), 0)
    assert scheduler.handle(CallEnded("c", Outcome.CANCELLED), 1) == [End("c", Outcome.CANCELLED)]
    assert scheduler.handle(CallEnded("c", Outcome.COMPLETED), 2) == []
    assert scheduler.handle(TimePassed(), 1e10) == []


def test_a_forgotten_application_is_dropped_with_its_last_call() -> None:
    scheduler = make_scheduler()
    scheduler.handle(report(), 0)
    scheduler.handle(ranked("a", 1.0), 0)
    scheduler.handle(CallArrived(call("c", "a")), 0)
    assert scheduler.live_applications() == ["a"]
    scheduler.handle(ApplicationForgotten(ApplicationId("a")), 0)
    assert scheduler.counts(ApplicationId("a")) == (0, 1)
    scheduler.handle(CallEnded("c", Outcome.COMPLETED), 1)
    scheduler.handle(ApplicationForgotten(ApplicationId("a")), 1)
    assert scheduler.live_applications() == []
    with pytest.raises(KeyError):
        scheduler.handle(CallArrived(call("d", "a")), 1)


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_every_policy_serves_everybody(policy: str) -> None:
    scheduler = make_scheduler(policy, margin=1)  # type: ignore[arg-type]
    scheduler.handle(report(free=250), 0)
    ended = []
    for i in range(20):
        scheduler.handle(ranked(f"a{i % 4}", 100.0 * (i % 4), arrived=float(i % 4)), i)
        scheduler.handle(CallArrived(call(f"c{i}", f"a{i % 4}", at=float(i))), i)
    while scheduler.num_dispatched:
        first = min(c for w in scheduler._engines.values() for c in w.in_flight)
        decisions = scheduler.handle(CallEnded(first, Outcome.COMPLETED, Usage(Tokens(100), Tokens(3))), 30)
        ended += [d.call_id for d in decisions if isinstance(d, End)]
    assert len(ended) == 20


def test_whoever_looks_sees_what_is_sent_where_and_who_has_room() -> None:
    scheduler = make_scheduler(engines=("x", "y"))
    scheduler.handle(ranked("a", 1.0), 0.0)
    scheduler.handle(report("x"), 0.0)
    scheduler.handle(CallArrived(call("1", "a")), 0.0)
    assert {name: list(window.in_flight) for name, window in scheduler.windows.items()} == {"x": ["1"], "y": []}
    assert scheduler.room.has_room("anybody")
