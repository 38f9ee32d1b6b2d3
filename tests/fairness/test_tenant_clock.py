"""Shares of tenants, event by event. Every number here is exact in binary."""

from collections.abc import Callable
from math import inf, nan

import pytest

from gateway.fairness import ApplicationId, KvTokenTime, TenantClock, UnknownApplication, VirtualTime, Weight
from gateway.fairness.tenant_clock import EXACT

A, B, C, D = (ApplicationId(letter) for letter in "abcd")


def cost(value: float) -> KvTokenTime:
    return KvTokenTime(value)


@pytest.fixture
def clock() -> TenantClock:
    return TenantClock()


def test_starts_at_zero_and_stands_still_while_nobody_is_backlogged(clock: TenantClock) -> None:
    assert clock.virtual_time == 0.0
    assert clock.serve(cost(1e9)) == 0.0
    assert (clock.backlogged(), clock.weight_sum, len(clock)) == ([], 0, 0)


def test_a_tenant_has_one_share_and_its_applications_come_one_after_the_other(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    clock.arrive(B, cost(100.0), tenant="y")
    clock.arrive(C, cost(70.0), tenant="y")
    assert clock.weight_sum == 2000
    assert clock.finish_times([A, B, C]) == {A: 100.0, C: 70.0, B: 170.0}
    assert clock.backlogged() == [C, A, B]
    assert clock.serve(cost(80.0)) == 40.0


def test_a_newcomer_delays_its_own_tenant_and_nobody_else(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    clock.arrive(B, cost(100.0), tenant="y")
    assert clock.arrive(C, cost(10.0), tenant="x") == 10.0
    assert clock.finish_times([A, B]) == {A: 110.0, B: 100.0}


def test_weights_count_among_tenants_and_within_each(clock: TenantClock) -> None:
    clock.arrive(A, cost(60.0), Weight(1000), tenant="x", tenant_weight=Weight(2000))
    clock.arrive(B, cost(90.0), Weight(2000), tenant="x", tenant_weight=Weight(2000))
    clock.arrive(C, cost(60.0), tenant="y")
    assert clock.weight_sum == 3000
    assert clock.finish_times([A, B, C]) == {B: 45.0, A: 75.0, C: 60.0}


def test_within_a_tenant_small_newcomers_pass_a_large_one_until_its_turn_has_come(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    passed = []
    for number in range(12):
        name = ApplicationId(f"small-{number}")
        clock.arrive(name, cost(40.0), tenant="x")
        passed.append(clock.finish_time(name) < clock.finish_time(A))
        clock.close(name, cost(40.0))
    assert passed[0]
    assert not passed[-1]
    assert passed == sorted(passed, reverse=True)


def test_what_has_been_served_moves_no_finish_time(clock: TenantClock) -> None:
    for application_id, value in ((A, 100.0), (B, 50.0), (C, 10.0)):
        clock.arrive(application_id, cost(value), tenant="x")
    clock.arrive(D, cost(1000.0), tenant="y")
    before = clock.finish_times([A, B, C])
    assert before == {C: 10.0, B: 60.0, A: 160.0}
    clock.serve(cost(20.0))
    clock.update(C, cost(10.0), cost(10.0))
    clock.update(A, cost(100.0), cost(10.0))
    assert clock.finish_times([A, C]) == {C: 20.0, A: 160.0}
    clock.close(C, cost(10.0))
    assert clock.finish_times([A, B]) == {B: 70.0, A: 160.0}  # A had ten that B had a claim to


def test_who_has_had_more_than_was_predicted_comes_later_with_all_behind_it(clock: TenantClock) -> None:
    clock.arrive(A, cost(10.0), tenant="x")
    clock.arrive(B, cost(50.0), tenant="x")
    clock.arrive(C, cost(30.0), tenant="y")
    clock.update(A, cost(10.0), cost(40.0))
    assert clock.finish_times([A, B, C]) == {A: 40.0, B: 90.0, C: 30.0}


def test_settling_below_the_prediction_brings_the_others_forward(clock: TenantClock) -> None:
    clock.arrive(A, cost(10.0), tenant="x")
    clock.arrive(B, cost(50.0), tenant="x")
    assert clock.close(A, cost(2.0)) == 2.0
    assert clock.finish_time(B) == 52.0


def test_closed_without_a_cost_it_counts_as_predicted(clock: TenantClock) -> None:
    clock.arrive(A, cost(10.0), tenant="x")
    clock.arrive(B, cost(50.0), tenant="x")
    assert clock.close(A) == 10.0
    assert clock.finish_time(B) == 60.0


def test_what_a_tenant_did_not_use_of_its_share_is_not_saved_up(clock: TenantClock) -> None:
    clock.arrive(A, cost(10.0), tenant="x")
    clock.arrive(B, cost(1000.0), tenant="y")
    clock.serve(cost(220.0))
    assert clock.virtual_time == 210.0
    assert clock.arrive(C, cost(20.0), tenant="x") == 230.0
    assert clock.finish_time(A) <= 210.0  # still due, and before all others
    assert clock.backlogged() == [C, B]


def test_handed_in_while_it_has_work_it_comes_after_that(clock: TenantClock) -> None:
    """In pieces, one after the other, a job ends where the whole of it does."""
    clock.arrive(A, cost(100.0), tenant="x")
    clock.arrive(B, cost(1000.0), tenant="y")
    clock.serve(cost(150.0))
    clock.arrive(C, cost(100.0), tenant="x")
    assert clock.finish_time(C) == 200.0
    clock.serve(cost(100.0))
    assert clock.virtual_time == 125.0


def test_a_tenant_that_comes_back_begins_where_it_would_have_ended(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    clock.arrive(B, cost(1000.0), tenant="y")
    clock.close(A, cost(100.0))
    assert (len(clock), clock.weight_sum) == (1, 2000)
    clock.serve(cost(60.0))
    assert clock.arrive(A, cost(50.0), tenant="x") == 150.0
    assert clock.start_time(A) == 30.0
    clock.close(A, cost(0.0))
    clock.serve(cost(140.0))
    assert (clock.virtual_time, clock.weight_sum) == (100.0, 1000)
    assert clock.arrive(C, cost(50.0), tenant="x") == 150.0


def test_a_tenants_weight_is_the_one_given_last(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    clock.serve(cost(20.0))
    clock.arrive(B, cost(80.0), tenant="x", tenant_weight=Weight(4000))
    assert clock.weight_sum == 4000
    # 80 are owed of A, which comes after B by f: all of the 160 end at V + 160 / 4; what A was served is not known yet
    assert clock.finish_times([A, B]) == {B: 20.0 + 60.0 / 4, A: 20.0 + 160.0 / 4}


def test_a_weight_changed_before_the_old_end_is_reached_does_not_count_the_old_work_again(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    clock.arrive(B, cost(1000.0), tenant="y")
    clock.close(A, cost(100.0))
    clock.serve(cost(60.0))
    assert clock.arrive(C, cost(50.0), tenant="x") == 150.0
    assert clock.arrive(D, cost(100.0), tenant="x", tenant_weight=Weight(2000)) == 175.0
    assert clock.finish_time(C) == 125.0


def test_no_finish_time_is_below_zero(clock: TenantClock) -> None:
    clock.arrive(A, cost(1000.0), tenant="x")
    clock.serve(cost(1000.0))
    clock.update(A, cost(1000.0), cost(1.0))
    clock.arrive(B, cost(2000.0), tenant="x", tenant_weight=Weight(1))
    assert clock.finish_time(A) == 1000.0
    clock.update(B, cost(2000.0), cost(10.0))
    clock.update(A, cost(500.0), cost(1.0))
    assert clock.finish_time(A) == 0.0


def test_ties_go_by_id(clock: TenantClock) -> None:
    for application_id, tenant in ((B, "x"), (A, "x"), (D, "y"), (C, "y")):
        clock.arrive(application_id, cost(50.0), tenant=tenant)
    assert clock.backlogged() == [A, C, B, D]


def test_an_open_application_arrives_again_without_effect(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    assert clock.arrive(A, cost(7.0), Weight(9000), tenant="x", tenant_weight=Weight(9000)) == 100.0
    assert clock.weight_sum == 1000


def test_an_open_id_belongs_to_one_tenant(clock: TenantClock) -> None:
    clock.arrive(A, cost(100.0), tenant="x")
    with pytest.raises(ValueError, match="is open for tenant 'x', not 'y'"):
        clock.arrive(A, cost(1.0), tenant="y")
    clock.close(A)
    clock.arrive(A, cost(1.0), tenant="y")


def test_due_is_what_its_tenants_share_would_have_given_it(clock: TenantClock) -> None:
    clock.arrive(A, cost(30.0), tenant="x")
    clock.arrive(B, cost(50.0), tenant="x")
    clock.arrive(C, cost(1000.0), tenant="y")
    clock.serve(cost(80.0))
    assert list(clock.dues([A, B, C]).values()) == [30.0, 10.0, 40.0]
    clock.update(C, cost(1000.0), cost(80.0))
    assert list(clock.dues([A, B, C]).values()) == [30.0, 10.0, 80.0]
    clock.update(A, cost(30.0), cost(30.0))
    assert clock.dues([B])[B] == 10.0
    clock.update(B, cost(50.0), cost(20.0))
    assert clock.dues([B])[B] == 20.0


def test_costs_count_in_whole_units(clock: TenantClock) -> None:
    assert clock.arrive(A, cost(10.9), tenant="x") == 10.0
    assert clock.update(A, cost(10.9), cost(11.2)) == 11.0
    assert clock.close(A, cost(12.7)) == 12.0


def test_restore_raises_the_clock_and_never_lowers_it(clock: TenantClock) -> None:
    clock.arrive(A, cost(10.0), tenant="x")
    assert clock.restore(VirtualTime(60.0)) == 60.0
    assert clock.restore(VirtualTime(10.0)) == 60.0
    assert clock.backlogged() == []


def test_behind_the_first_of_a_tenant_what_is_left_is_spread_evenly(clock: TenantClock) -> None:
    many = [ApplicationId(f"{number:04d}") for number in range(2 * EXACT)]
    for number, application_id in enumerate(many):
        clock.arrive(application_id, cost(1.0 + number), tenant="x")
    finish_times = list(clock.finish_times(many).values())
    exact = [sum(1.0 + earlier for earlier in range(number + 1)) for number in range(2 * EXACT)]
    assert finish_times[:EXACT] == exact[:EXACT]
    assert finish_times[-1] == exact[-1]
    steps = {later - earlier for earlier, later in zip(finish_times[EXACT - 1 :], finish_times[EXACT:], strict=False)}
    assert steps == {(exact[-1] - exact[EXACT - 1]) / EXACT}
    assert [clock.finish_time(one) for one in many] == finish_times
    assert list(clock.finish_times(many[:3] + many[-2:])) == many[:3] + many[-2:]


@pytest.mark.parametrize(
    "event",
    [
        lambda clock: clock.update(A, cost(1.0), cost(0.0)),
        lambda clock: clock.close(A),
        lambda clock: clock.finish_time(A),
        lambda clock: clock.start_time(A),
    ],
)
def test_an_unknown_id_is_refused_by_name(clock: TenantClock, event: Callable[[TenantClock], object]) -> None:
    with pytest.raises(UnknownApplication, match="unknown application 'a'"):
        event(clock)
    assert not clock.is_open(A)
    assert clock.finish_times([A]) == clock.dues([A]) == {}


@pytest.mark.parametrize("bad", [-1.0, nan, inf, 1e16])
def test_bad_numbers_are_refused_and_change_nothing(clock: TenantClock, bad: float) -> None:
    clock.arrive(B, cost(10.0), tenant="x")
    for event in (
        lambda: clock.arrive(A, cost(bad), tenant="x"),
        lambda: clock.update(B, cost(bad), cost(0.0)),
        lambda: clock.update(B, cost(0.0), cost(bad)),
        lambda: clock.close(B, cost(bad)),
    ):
        with pytest.raises(ValueError, match="cost"):
            event()
    for weight in (0, -1, 10**9 + 1):
        with pytest.raises(ValueError, match="weight"):
            clock.arrive(A, cost(1.0), Weight(weight), tenant="x")
        with pytest.raises(ValueError, match="weight"):
            clock.arrive(A, cost(1.0), tenant="x", tenant_weight=Weight(weight))
    assert (len(clock), clock.finish_time(B)) == (1, 10.0)


def test_more_than_any_cost_may_be_handed_in_together(clock: TenantClock) -> None:
    for application_id in (A, B, C):
        clock.arrive(application_id, cost(1e15), tenant="x")
    assert clock.finish_time(C) == 3e15


def test_nothing_of_a_tenant_is_kept_when_it_has_ended(clock: TenantClock) -> None:
    for number in range(200):
        name = ApplicationId(f"{number}")
        clock.arrive(name, cost(100.0), tenant=f"tenant-{number}")
        clock.serve(cost(100.0))
        clock.update(name, cost(100.0), cost(100.0))
        clock.close(name, cost(100.0))
    assert (len(clock), len(clock._tenants), len(clock._clock)) == (0, 0, 0)
