"""The clock event by event, above all exactly on the boundary. Every number here is exact in binary."""

from math import inf, nan, nextafter

import pytest

from gateway.fairness import (
    MAX_COST,
    MAX_WEIGHT,
    ApplicationId,
    KvTokenTime,
    UnknownApplication,
    VirtualClock,
    VirtualTime,
    Weight,
)

A, B, C = ApplicationId("a"), ApplicationId("b"), ApplicationId("c")


def cost(value: float) -> KvTokenTime:
    return KvTokenTime(value)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def test_starts_at_zero_and_stands_still_while_nobody_is_backlogged(clock: VirtualClock) -> None:
    assert clock.virtual_time == 0.0
    assert clock.serve(cost(1e9)) == 0.0
    assert (clock.backlogged(), clock.weight_sum, len(clock)) == ([], 0, 0)


def test_finish_time_is_start_plus_cost_over_weight(clock: VirtualClock) -> None:
    assert clock.arrive(A, cost(100.0)) == 100.0
    assert clock.arrive(B, cost(100.0), Weight(4000)) == 25.0
    clock.serve(cost(5.0))
    assert clock.virtual_time == 1.0
    assert clock.arrive(C, cost(10.0), Weight(500)) == 21.0
    assert (clock.start_time(A), clock.start_time(C)) == (0.0, 1.0)
    assert clock.backlogged() == [C, B, A]


def test_an_open_application_arrives_again_without_effect(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.serve(cost(30.0))
    assert clock.arrive(A, cost(7.0), Weight(9000)) == 100.0
    assert (clock.start_time(A), clock.weight_sum) == (0.0, 1000)


def test_one_service_passes_several_departures_at_growing_pace(clock: VirtualClock) -> None:
    for application_id, value in ((A, 100.0), (B, 50.0), (C, 10.0)):
        clock.arrive(application_id, cost(value))
    # 30 to V = 10 at a third each, 80 to V = 50 at a half each, 25 for A alone
    assert clock.serve(cost(30.0 + 80.0 + 25.0)) == 75.0
    assert clock.backlogged() == [A]


def test_service_that_ends_exactly_at_a_departure(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.arrive(B, cost(50.0))
    assert clock.serve(cost(100.0)) == 50.0
    assert not clock.is_backlogged(B)
    assert clock.backlogged() == [A]
    assert clock.serve(cost(50.0)) == 100.0
    assert clock.backlogged() == []


def test_a_hair_before_the_departure_it_is_still_backlogged(clock: VirtualClock) -> None:
    clock.arrive(A, cost(50.0))
    clock.serve(cost(nextafter(50.0, 0)))
    assert clock.backlogged() == [A]


def test_equal_finish_times_depart_together_and_are_ordered_by_id(clock: VirtualClock) -> None:
    for application_id in (B, C, A):
        clock.arrive(application_id, cost(50.0))
    assert clock.backlogged() == [A, B, C]
    clock.serve(cost(150.0))  # nothing is left for a second round of the loop
    assert (clock.virtual_time, clock.backlogged(), clock.weight_sum) == (50.0, [], 0)


def test_ids_tie_in_the_order_of_their_utf8_bytes_as_in_a_redis_sorted_set(clock: VirtualClock) -> None:
    ids = ["é", "z", "Z", "\U0001f600", "\uffee", "a/b"]
    for application_id in ids:
        clock.arrive(ApplicationId(application_id), cost(1.0))
    assert clock.backlogged() == sorted(ids, key=str.encode)


def test_zero_cost_is_never_backlogged_and_stays_known_until_closed(clock: VirtualClock) -> None:
    assert clock.arrive(A, cost(0.0)) == 0.0
    assert (clock.backlogged(), clock.is_open(A), clock.weight_sum) == ([], True, 0)
    assert clock.close(A) == 0.0
    assert len(clock) == 0


def test_an_application_that_left_gps_stays_known_while_open(clock: VirtualClock) -> None:
    clock.arrive(A, cost(10.0), Weight(2000))
    clock.serve(cost(10.0))
    assert (clock.finish_time(A), clock.start_time(A), clock.is_open(A)) == (5.0, 0.0, True)
    assert clock.arrive(A, cost(99.0)) == 5.0
    assert clock.revise(A, cost(20.0)) == 10.0  # with the weight it came with
    assert clock.backlogged() == [A]


@pytest.mark.parametrize(
    ("start", "value", "other_weight", "service"),
    [(0.25, 7.64, 87, 8.30468), (0.57, 3.82, 87, 4.15234), (6.07, 7.9, 77, 8.5083)],  # found by search; a few in 10^6
)
def test_the_clock_never_passes_a_finish_time_by_rounding(
    clock: VirtualClock, start: float, value: float, other_weight: int, service: float
) -> None:
    clock.restore(VirtualTime(start))
    finish = clock.arrive(A, cost(value))
    clock.arrive(B, cost(1e6), Weight(other_weight))
    assert start + service * 1000 / clock.weight_sum > finish  # or this would test nothing
    assert service < (finish - start) * clock.weight_sum / 1000
    assert clock.serve(cost(service)) == finish
    assert clock.backlogged() == [B]  # rounding brought V to F, so it has departed


# --- revise -----------------------------------------------------------------------------------------------------------


def test_revise_moves_the_finish_and_not_the_start_or_the_clock(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.arrive(B, cost(80.0))
    clock.serve(cost(40.0))
    assert clock.revise(A, cost(60.0)) == 60.0
    assert (clock.virtual_time, clock.start_time(A), clock.backlogged()) == (20.0, 0.0, [A, B])


def test_revise_below_what_gps_has_served_departs_and_keeps_the_smaller_finish(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.arrive(B, cost(100.0))
    clock.serve(cost(100.0))
    assert clock.revise(A, cost(20.0)) == 20.0
    assert clock.finish_time(A) < clock.virtual_time == 50.0
    assert (clock.backlogged(), clock.weight_sum, clock.is_open(A)) == ([B], 1000, True)
    assert clock.serve(cost(10.0)) == 60.0  # B alone


def test_revise_exactly_to_the_clock_departs(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.serve(cost(50.0))
    clock.revise(A, cost(50.0))
    assert (clock.backlogged(), clock.weight_sum) == ([], 0)
    assert clock.revise(A, cost(nextafter(50.0, inf))) > 50.0
    assert clock.backlogged() == [A]


def test_revise_back_to_backlogged_counts_the_weight_once_more(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0), Weight(3000))
    clock.serve(cost(100.0))
    assert clock.weight_sum == 0
    clock.revise(A, cost(600.0))
    assert (clock.backlogged(), clock.weight_sum, clock.finish_time(A)) == ([A], 3000, 200.0)
    clock.revise(A, cost(900.0))
    assert clock.weight_sum == 3000


def test_revising_there_and_back_leaves_one_departure(clock: VirtualClock) -> None:
    clock.arrive(A, cost(10.0))
    clock.arrive(B, cost(30.0))
    for value in (20.0, 10.0, 40.0, 10.0):
        clock.revise(A, cost(value))
    assert clock.serve(cost(25.0)) == 15.0
    assert (clock.backlogged(), clock.weight_sum) == ([B], 1000)


def test_many_revisions_do_not_make_memory_grow(clock: VirtualClock) -> None:
    for number in range(10):
        clock.arrive(ApplicationId(f"app-{number}"), cost(1e6))
    for step in range(5_000):
        clock.revise(ApplicationId(f"app-{step % 10}"), cost(1e6 + step))
    assert len(clock._departures) <= 65
    clock.serve(cost(10e6))  # the stale entries do not depart anybody
    assert len(clock.backlogged()) == 10


# --- close ------------------------------------------------------------------------------------------------------------


def test_closed_but_unfinished_in_gps_it_keeps_its_share_until_the_clock_gets_there(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.arrive(B, cost(50.0))
    assert clock.close(B) == 50.0
    assert (clock.is_open(B), clock.is_backlogged(B), clock.finish_time(B)) == (False, True, 50.0)
    assert clock.serve(cost(60.0)) == 30.0  # still half for B
    clock.serve(cost(40.0))
    assert (len(clock), clock.is_backlogged(B)) == (1, False)
    with pytest.raises(UnknownApplication):
        clock.finish_time(B)


def test_close_settles_the_cost_first(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.arrive(B, cost(100.0))
    clock.serve(cost(60.0))
    assert clock.close(A, cost(20.0)) == 20.0  # less than it was served: forgotten
    assert (len(clock), clock.weight_sum) == (1, 1000)
    assert clock.close(B, cost(200.0)) == 200.0
    assert clock.backlogged() == [B]


def test_closing_what_left_gps_forgets_it(clock: VirtualClock) -> None:
    clock.arrive(A, cost(10.0))
    clock.serve(cost(10.0))
    assert clock.close(A) == 10.0
    assert (len(clock), clock.is_open(A), clock.is_backlogged(A)) == (0, False, False)
    assert clock.arrive(A, cost(5.0)) == 15.0  # a new one, from V


def test_closing_with_more_than_predicted_brings_it_back_until_it_is_paid(clock: VirtualClock) -> None:
    clock.arrive(A, cost(10.0))
    clock.serve(cost(10.0))
    assert clock.close(A, cost(40.0)) == 40.0
    assert clock.backlogged() == [A]


def test_reopened_while_unfinished_it_starts_where_it_would_have_ended(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0), Weight(1000))
    clock.serve(cost(10.0))
    clock.close(A)
    assert clock.arrive(A, cost(100.0), Weight(2000)) == 150.0
    assert (clock.start_time(A), clock.weight_sum, clock.backlogged()) == (100.0, 2000, [A])
    assert clock.is_open(A)
    clock.close(A)
    assert clock.arrive(A, cost(0.0)) == 150.0  # even a free episode waits for those before it
    assert (clock.weight_sum, clock.backlogged()) == (1000, [A])


def test_reopened_and_settled_at_nothing_it_still_owes_the_earlier_episode(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.close(A)
    clock.arrive(A, cost(50.0))
    assert clock.close(A, cost(0.0)) == 100.0
    assert clock.backlogged() == [A]


def test_a_closed_id_is_unknown_to_revise_and_close(clock: VirtualClock) -> None:
    clock.arrive(A, cost(100.0))
    clock.close(A)
    with pytest.raises(UnknownApplication):
        clock.revise(A, cost(1.0))
    with pytest.raises(UnknownApplication):
        clock.close(A, cost(1.0))
    assert clock.finish_time(A) == 100.0


# --- restore ----------------------------------------------------------------------------------------------------------


def test_restore_raises_the_clock_and_never_lowers_it(clock: VirtualClock) -> None:
    assert clock.restore(VirtualTime(40.0)) == 40.0
    assert clock.restore(VirtualTime(10.0)) == 40.0
    assert clock.arrive(A, cost(10.0)) == 50.0


def test_restore_departs_whoever_it_passes_or_meets(clock: VirtualClock) -> None:
    for application_id, value in ((A, 10.0), (B, 20.0), (C, 30.0)):
        clock.arrive(application_id, cost(value))
    clock.close(A)
    clock.restore(VirtualTime(20.0))
    assert (clock.backlogged(), clock.weight_sum, len(clock)) == ([C], 1000, 2)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["revise", "close", "finish_time", "start_time"])
def test_an_unknown_id_is_refused_by_name(clock: VirtualClock, event: str) -> None:
    arguments = (A, cost(1.0)) if event == "revise" else (A,)
    with pytest.raises(UnknownApplication, match="unknown application 'a'") as caught:
        getattr(clock, event)(*arguments)
    assert caught.value.application_id == A
    assert isinstance(caught.value, KeyError)
    assert (clock.is_open(A), clock.is_backlogged(A)) == (False, False)


@pytest.mark.parametrize("bad", [nan, inf, -inf, -1.0, nextafter(MAX_COST, inf), 10**400])
def test_bad_costs_are_refused_and_change_nothing(clock: VirtualClock, bad: float) -> None:
    clock.arrive(A, cost(MAX_COST))
    for event in (lambda: clock.arrive(B, cost(bad)), lambda: clock.revise(A, cost(bad)), lambda: clock.close(A, bad)):
        with pytest.raises(ValueError, match=f"cost must .* got {bad}".replace("+", "[+]")):
            event()
    assert (clock.finish_time(A), clock.is_open(A), len(clock)) == (MAX_COST, True, 1)


@pytest.mark.parametrize("bad", [nan, inf, -1.0, -0.5, 10**400])
def test_bad_readings_are_refused(clock: VirtualClock, bad: float) -> None:
    with pytest.raises(ValueError, match="service must be finite"):
        clock.serve(cost(bad))
    with pytest.raises(ValueError, match="virtual time must be finite"):
        clock.restore(VirtualTime(bad))
    assert clock.virtual_time == 0.0


@pytest.mark.parametrize("bad", [0, -1000, MAX_WEIGHT + 1, 1000.0, nan])
def test_bad_weights_are_refused(clock: VirtualClock, bad: int) -> None:
    with pytest.raises(ValueError, match=f"weight must .* got {bad}"):
        clock.arrive(A, cost(1.0), Weight(bad))
    assert len(clock) == 0


def test_whole_numbers_count_as_the_doubles_that_lua_would_have(clock: VirtualClock) -> None:
    value = 2**49 + 4
    assert value * 1000 / 7 != float(value) * 1000 / 7  # an int times 1000 is not rounded, a double is
    assert clock.arrive(A, cost(value), Weight(7)) == float(value) * 1000 / 7
    assert isinstance(clock.serve(cost(1)), float)
