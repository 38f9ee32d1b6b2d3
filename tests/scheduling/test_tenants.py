"""The scheduler and what tenants were given: caps on what runs and on what waits."""

from gateway.fairness.units import ApplicationId
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.scheduling.events import (
    CallArrived,
    CallEnded,
    Decision,
    Dispatch,
    DrainBegan,
    End,
    EngineLost,
    RunningElsewhere,
)
from gateway.scheduling.model import Hold, Outcome, Refusal
from gateway.scheduling.scheduler import Scheduler
from tests.scheduling.builders import call, make_scheduler, ranked, report


def dispatched(decisions: list[Decision]) -> list[str]:
    return [decision.call_id for decision in decisions if isinstance(decision, Dispatch)]


def arrive(scheduler: Scheduler, call_id: str, application: str, **options: object) -> list[Decision]:
    tenant = application.partition("/")[0]
    return scheduler.handle(CallArrived(call(call_id, application, tenant=tenant, **options)), 0)  # type: ignore[arg-type]


def world(terms: dict[str, TenantTerms], **options: object) -> Scheduler:
    scheduler = make_scheduler(terms=terms, **options)  # type: ignore[arg-type]
    for finish, application in enumerate(("t/1", "t/2", "u/1", "v/1")):
        scheduler.handle(ranked(application, float(finish)), 0)
    return scheduler


def held(scheduler: Scheduler) -> dict[Hold, int]:
    return {hold: num_calls for hold, num_calls in scheduler.num_held().items() if num_calls}


CAPPED = {"t": TenantTerms(max_running_calls=2)}


def test_calls_beyond_a_cap_wait_and_others_pass_them() -> None:
    scheduler = world(CAPPED)
    for call_id, application in (("t1", "t/2"), ("t2", "t/1"), ("t3", "t/1"), ("u1", "u/1"), ("t4", "t/2")):
        arrive(scheduler, call_id, application)
    assert dispatched(scheduler.handle(report(), 0)) == ["t2", "t3", "u1"]
    assert dispatched(arrive(scheduler, "v1", "v/1")) == ["v1"]
    assert dispatched(scheduler.handle(CallEnded("u1", Outcome.COMPLETED), 1)) == []
    assert dispatched(scheduler.handle(CallEnded("t3", Outcome.FAILED), 1)) == ["t1"]
    assert dispatched(scheduler.handle(CallEnded("t4", Outcome.CANCELLED), 1)) == []
    assert scheduler.running_of_capped() == {"t": 2}
    assert scheduler.counts(ApplicationId("t/2")) == (0, 1)


def test_a_capped_call_that_comes_while_there_is_room_goes_at_once() -> None:
    scheduler = world(CAPPED)
    scheduler.handle(report(), 0)
    assert [dispatched(arrive(scheduler, f"t{i}", "t/1")) for i in range(3)] == [["t0"], ["t1"], []]


def test_one_cap_holds_over_all_models() -> None:
    scheduler = world(CAPPED, engines=("e1", "e2"))
    scheduler.handle(report("e1", models=("m",)), 0)
    scheduler.handle(report("e2", models=("n",)), 0)
    sent = [arrive(scheduler, f"{model}{i}", "t/1", model=model) for i in range(2) for model in "mn"]
    assert [dispatched(decisions) for decisions in sent] == [["m0"], ["n0"], [], []]
    assert dispatched(scheduler.handle(CallEnded("m0", Outcome.COMPLETED), 1)) == ["m1"]
    assert dispatched(scheduler.handle(CallEnded("n0", Outcome.COMPLETED), 1)) == ["n1"]


def test_calls_at_other_gateways_count() -> None:
    scheduler = world(CAPPED)
    scheduler.handle(report(), 0)
    assert scheduler.handle(RunningElsewhere({"t": 1, "u": 9}), 0) == []
    assert [dispatched(arrive(scheduler, f"t{i}", "t/1")) for i in range(2)] == [["t0"], []]
    assert dispatched(arrive(scheduler, "u0", "u/1")) == ["u0"]
    assert dispatched(scheduler.handle(RunningElsewhere({}), 1)) == ["t1"]


def test_what_holds_waiting_calls() -> None:
    scheduler = world(CAPPED, engines=("e1", "e2"))
    scheduler.handle(report("e1", models=("m",)), 0)
    scheduler.handle(report("e2", models=("n",)), 0)
    for number in range(5):  # two of them run
        arrive(scheduler, f"t{number}", "t/1")
    arrive(scheduler, "n1", "u/1", model="n")
    scheduler.handle(report("e1", models=("m",), free=0), 1)
    for call_id in ("u1", "u2", "u3"):  # one may wait in the engine
        arrive(scheduler, call_id, "u/1")
    assert held(scheduler) == {Hold.CAPACITY: 1, Hold.ORDER: 1, Hold.TENANT_CAP: 3}
    scheduler.handle(EngineLost("e1"), 2)
    assert held(scheduler) == {Hold.NO_ENGINE: 5}


def test_a_cap_that_changes_while_calls_wait() -> None:
    terms: dict[str, TenantTerms] = {}
    scheduler = world(terms)
    for i in range(4):
        arrive(scheduler, f"t{i}", "t/1")
    arrive(scheduler, "u1", "u/1")
    terms["t"] = TenantTerms(max_running_calls=1)
    assert dispatched(scheduler.handle(report(), 0)) == ["t0", "u1"]
    terms["t"] = TenantTerms(max_running_calls=2)
    assert dispatched(scheduler.handle(RunningElsewhere({}), 1)) == ["t1"]
    terms["t"] = NO_LIMITS
    assert dispatched(scheduler.handle(RunningElsewhere({}), 2)) == ["t2", "t3"]


def test_more_waiting_calls_than_a_tenant_may_have_are_refused() -> None:
    scheduler = world({"t": TenantTerms(max_waiting_calls=1)})
    refused = [End("t2", Outcome.REJECTED, Refusal.QUOTA_EXCEEDED)]
    assert arrive(scheduler, "t1", "t/1") == []
    assert arrive(scheduler, "t2", "t/2") == refused
    assert arrive(scheduler, "u1", "u/1") == arrive(scheduler, "u2", "u/1") == []
    assert (scheduler.num_waiting, scheduler.counts(ApplicationId("t/2"))) == (3, (0, 0))
    assert dispatched(scheduler.handle(report(free=100), 0)) == ["t1", "u1"]
    assert dispatched(arrive(scheduler, "t2", "t/2")) == ["t2"]


def test_who_may_not_have_any_waiting_may_have_them_running() -> None:
    scheduler = world({"t": TenantTerms(max_waiting_calls=0, max_running_calls=1)})
    scheduler.handle(report(), 0)
    assert dispatched(arrive(scheduler, "t1", "t/1")) == ["t1"]
    assert arrive(scheduler, "t2", "t/1") == [End("t2", Outcome.REJECTED, Refusal.QUOTA_EXCEEDED)]
    scheduler.handle(CallEnded("t1", Outcome.COMPLETED), 0)
    assert dispatched(arrive(scheduler, "t2", "t/1")) == ["t2"]


def test_a_call_that_comes_after_its_deadline_is_refused_and_none_is_sent_after_it() -> None:
    scheduler = world({})
    assert scheduler.handle(CallArrived(call("late", "t/1", deadline=5.0)), 5.0) == [
        End("late", Outcome.REJECTED, Refusal.QUEUE_TIMEOUT)
    ]
    for call_id, deadline in (("a", 5.0), ("b", 9.0)):
        scheduler.handle(CallArrived(call(call_id, "t/1", deadline=deadline)), 0)
    assert scheduler.handle(report(), 5.0) == [
        End("a", Outcome.EVICTED, Refusal.QUEUE_TIMEOUT),
        Dispatch("b", "e1", 0.0),
    ]


def test_draining_refuses_those_behind_a_cap_too() -> None:
    scheduler = world(CAPPED)
    scheduler.handle(report(), 0)
    for i in range(4):
        arrive(scheduler, f"t{i}", "t/1")
    ended = [decision.call_id for decision in scheduler.handle(DrainBegan(), 0) if isinstance(decision, End)]
    assert ended == ["t2", "t3"]
    assert (scheduler.num_waiting, scheduler.num_dispatched) == (0, 2)
