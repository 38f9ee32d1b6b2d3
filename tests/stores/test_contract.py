"""What every state store must do. Each test runs against every store, with shares of applications and of tenants, where
each application has a tenant of its own; finish times are computed here, not copied.

Two things differ where tenants have the shares: an application that has been closed is listed no more, though its
tenant is still backlogged, and costs count in whole units."""

import math
from dataclasses import replace

import pytest

from gateway.fairness import SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.fairness.virtual_clock import MAX_COST, MAX_WEIGHT
from gateway.ports import ApplicationRecord, Arrival, Standing, StateStore
from tests.stores.charging import charge_one

A, B, C = ApplicationId("a"), ApplicationId("b"), ApplicationId("c")
NOW = 1_700_000_000.25
NANOSECONDS = 1_763_683_200_123_456_789
"""An incarnation; its neighbours are the same number to a double."""

AWKWARD = [0.1, 1 / 3, 5e-324, 2.2250738585072014e-308, 999_999_999_999_999.9, 1e15, 0.1 + 0.2]
ODD_IDS = ["", "{}", "{other}", "a b", "a\nb", "nul\0", "*", "?[x]", "ключ", "\uffff", "\U0001f600", "-inf"]


def arrival(
    name: str = "a", cost: float = 100.0, weight: int = 1000, kind: str = "agent", parent: ApplicationId | None = None
) -> Arrival:
    """Each application of a tenant of its own, with the same weight: it has the same share as its tenant."""
    return Arrival(ApplicationId(name), name, kind, KvTokenTime(cost), Weight(weight), parent, Weight(weight))


def cost(value: float) -> KvTokenTime:
    return KvTokenTime(value)


async def known(store: StateStore, name: str = "a") -> ApplicationRecord:
    standing = await store.get(ApplicationId(name))
    assert standing is not None
    return standing.application


async def backlogged(store: StateStore) -> str:
    """The ids in order, one letter each."""
    return "".join((await store.snapshot(100)).backlogged)


async def virtual_time(store: StateStore) -> float:
    return (await store.snapshot(0)).virtual_time


# --- arrive and serve -----------------------------------------------------------------------------------------------


async def test_an_arrival_is_answered_with_its_record(store: StateStore) -> None:
    await store.arrive(arrival("c"), NOW)
    await store.serve(cost(7.5))
    standing = await store.arrive(arrival("a", 100, 2000, parent=C), NOW)
    assert standing == Standing(
        VirtualTime(7.5),
        ApplicationRecord(
            application_id=A,
            tenant="a",
            kind="agent",
            parent=C,
            weight=Weight(2000),
            predicted_cost=cost(100.0),
            service=cost(0.0),
            virtual_start=VirtualTime(7.5),
            virtual_finish_time=VirtualTime(7.5 + 100 * 1000 / 2000),
            arrived_at=NOW,
            last_seen_at=NOW,
        ),
    )
    assert await store.get(A) == standing


async def test_the_clock_moves_piecewise_and_stops_with_nobody_backlogged(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await store.arrive(arrival("b", 50), NOW)
    assert await backlogged(store) == "ba"
    assert await store.serve(cost(99)) == 99 / 2
    assert await store.serve(cost(11)) == 50 + (99 + 11 - 100) / 1
    assert await backlogged(store) == "a"
    assert await store.serve(cost(1000)) == 100
    assert await backlogged(store) == ""
    assert await store.serve(cost(1000)) == 100


async def test_weights_share_service(store: StateStore) -> None:
    await store.arrive(arrival("a", 3000, 3000), NOW)
    await store.arrive(arrival("b", 3000, 1000), NOW)
    assert await store.serve(cost(2000)) == 2000 / (3 + 1)
    assert await backlogged(store) == "ab"


async def test_equal_finish_times_depart_together(store: StateStore) -> None:
    for name in "cab":
        await store.arrive(arrival(name, 100), NOW)
    assert await backlogged(store) == "abc"
    await store.serve(cost(math.nextafter(300, 0)))
    assert await backlogged(store) in {"abc", ""}
    await store.serve(cost(1e-6))
    assert await backlogged(store) == ""


async def test_an_open_id_arriving_again_changes_only_when_it_was_seen(store: StateStore) -> None:
    first = await store.arrive(arrival("a", 100), NOW)
    again = await store.arrive(arrival("a", 5000, 7, kind="other", parent=B), NOW + 5)
    assert again.application == replace(first.application, last_seen_at=NOW + 5)
    late = await store.arrive(arrival("a", 1), NOW - 100)
    assert late.application.last_seen_at == NOW + 5


async def test_an_id_coming_back_unfinished_starts_where_it_ended_with_one_weight(
    store: StateStore, shares: SharesName
) -> None:
    await store.arrive(arrival("a", 100, 1000), NOW)
    await store.arrive(arrival("b", 100_000), NOW)
    await store.close(A)
    back = await store.arrive(arrival("a", 30, 3000), NOW)
    # Where the tenant has the share, it is the tenant that begins at 100.
    assert back.application.virtual_start == (100 if shares == "application" else 0)
    assert back.application.virtual_finish_time == 100 + 30 / 3
    assert await store.serve(cost(8)) == 8 / (3 + 1)


async def test_an_id_coming_back_finished_starts_at_the_clock(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await store.arrive(arrival("b", 1000), NOW)
    await store.close(A)
    await store.serve(cost(300))
    back = await store.arrive(arrival("a", 10), NOW)
    assert back.application.virtual_start == back.virtual_time == 200


async def test_zero_cost_is_never_backlogged(store: StateStore) -> None:
    standing = await store.arrive(arrival("a", 0.0), NOW)
    assert standing.application.virtual_finish_time == 0
    assert await backlogged(store) == ""


# --- revise, charge, close ------------------------------------------------------------------------------------------


async def test_a_revision_moves_the_finish_and_may_fall_behind_the_clock(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await store.arrive(arrival("b", 500), NOW)
    await store.serve(cost(100))
    revised = await store.revise(A, cost(20))
    assert revised is not None
    assert (revised.virtual_time, revised.application.virtual_finish_time) == (50, 20)
    assert revised.application.predicted_cost == 20
    assert await backlogged(store) == "b"
    assert await store.serve(cost(10)) == 60
    await store.revise(A, cost(1000))
    assert await backlogged(store) == "ba"
    assert await store.serve(cost(10)) == 60 + 10 / 2


async def test_charges_add_up_and_leave_the_clock_alone(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await charge_one(store, A, cost(0.1), NOW + 1)
    charged = await charge_one(store, A, cost(0.2), NOW)
    assert charged is not None
    assert charged.application.service == 0.1 + 0.2
    assert charged.application.last_seen_at == NOW + 1
    assert charged.application.virtual_finish_time == 100
    assert charged.virtual_time == 0


async def test_many_are_charged_at_once_and_the_unknown_left_out(store: StateStore) -> None:
    names = [ApplicationId(f"{number:04}") for number in range(70)]
    for name in names[::2]:
        await store.arrive(arrival(name), NOW)
    standings = await store.charge({name: cost(1 + number) for number, name in enumerate(names)}, NOW + 3)
    assert list(standings) == names[::2]
    for number, name in enumerate(names):
        if number % 2 == 0:
            assert standings[name].application.service == 1 + number
            assert standings[name].application.last_seen_at == NOW + 3
            assert await store.get(name) == standings[name]


async def test_one_that_has_had_more_than_was_predicted_is_placed_by_what_it_has_had(store: StateStore) -> None:
    await store.arrive(arrival("a", 100, weight=2000), NOW)
    await store.arrive(arrival("b", 400), NOW)
    in_time = await charge_one(store, A, cost(99), NOW)
    assert in_time is not None
    assert in_time.application.virtual_finish_time == 50
    late = await charge_one(store, A, cost(52), NOW)
    assert late is not None
    assert late.application.virtual_finish_time == 151 / 2
    assert late.application.predicted_cost == 100
    assert await store.serve(cost(3 * 60)) == 60  # at 50 it would have left GPS
    assert await backlogged(store) == "ab"
    again = await charge_one(store, A, cost(849), NOW)
    assert again is not None
    assert again.application.virtual_finish_time == 500
    assert await backlogged(store) == "ba"


async def test_the_late_come_back_to_gps(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await store.arrive(arrival("b", 400), NOW)
    assert await store.serve(cost(220)) == 120
    assert await backlogged(store) == "b"
    await charge_one(store, A, cost(300), NOW)
    assert await backlogged(store) == "ab"


async def test_an_estimate_below_what_was_attained_counts_for_nothing(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await charge_one(store, A, cost(80), NOW)
    revised = await store.revise(A, cost(20))
    assert revised is not None
    assert (revised.application.predicted_cost, revised.application.virtual_finish_time) == (20, 80)
    raised = await store.revise(A, cost(90))
    assert raised is not None
    assert raised.application.virtual_finish_time == 90


async def test_charges_stop_where_a_cost_does_and_can_still_be_settled(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    for _ in range(2):
        await charge_one(store, A, cost(MAX_COST), NOW)
    (expired,) = await store.expire(NOW + 1, 10)
    assert expired.application.service == MAX_COST
    assert await store.mean_cost("agent") == MAX_COST


async def test_close_settles_and_answers_the_last_standing(store: StateStore, shares: SharesName) -> None:
    before = await store.arrive(arrival("a", 100), NOW)
    closed = await store.close(A, cost(250))
    assert closed is not None
    due = cost(0.0 if shares == "application" else 250.0)  # a tenant's order knows what each has had
    assert closed.application == replace(before.application, virtual_finish_time=VirtualTime(250.0), due=due)
    assert await store.get(A) is None
    assert await backlogged(store) == ("a" if shares == "application" else "")
    assert await store.serve(cost(1000)) == 250
    assert await backlogged(store) == ""


async def test_close_below_the_clock_forgets_at_once(store: StateStore) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await store.serve(cost(60))
    await store.close(A, cost(10))
    assert await backlogged(store) == ""
    again = await store.arrive(arrival("a", 100), NOW)
    assert again.application.virtual_start == 60


async def test_the_mean_is_of_the_kind_else_of_all_else_none(store: StateStore) -> None:
    assert await store.mean_cost("agent") is None
    for name, kind, measured in [("a", "agent", 0.1), ("b", "agent", 0.2), ("c", "chat", 70.0)]:
        await store.arrive(arrival(name, kind=kind), NOW)
        await store.close(ApplicationId(name), cost(measured))
    await store.arrive(arrival("a", kind="unsettled"), NOW)
    await store.close(A)
    assert await store.mean_cost("agent") == (0.1 + 0.2) / 2
    assert await store.mean_cost("chat") == 70
    assert await store.mean_cost("unsettled") == (0.1 + 0.2 + 70) / 3


async def test_unknown_applications_are_none(store: StateStore) -> None:
    await store.arrive(arrival("b"), NOW)
    await store.close(B)
    assert await store.charge({A: cost(1), B: cost(1)}, NOW) == {}
    for name in (A, B):
        assert await store.revise(name, cost(1)) is None
        assert await store.close(name) is None
        assert await store.close(name, cost(1)) is None
        assert await store.get(name) is None
    await store.touch([A, B], NOW)
    assert await store.expire(NOW + 1, 10) == ()
    assert await store.mean_cost("agent") is None


# --- idle applications ----------------------------------------------------------------------------------------------


async def test_expire_closes_the_longest_idle_first(store: StateStore) -> None:
    for name, seen in [("c", 3.0), ("b", 2.0), ("a", 2.0), ("d", 1.0), ("e", 4.0)]:
        await store.arrive(arrival(name), NOW + seen)
    assert await store.expire(NOW + 4, 0) == ()
    first = await store.expire(NOW + 4, 2)
    assert [s.application.application_id for s in first] == ["d", "a"]
    rest = await store.expire(NOW + 4, 100)
    assert [s.application.application_id for s in rest] == ["b", "c"]
    assert [r.application_id for r in (await store.snapshot(100)).applications] == ["e"]


async def test_expire_settles_the_charged_and_keeps_the_prediction_of_the_others(
    store: StateStore, shares: SharesName
) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await store.arrive(arrival("b", 100), NOW + 1)
    await charge_one(store, A, cost(40), NOW)
    charged, uncharged = await store.expire(NOW + 9, 10)
    assert charged.application.virtual_finish_time == 40
    assert charged.application.predicted_cost == 100
    assert uncharged.application.virtual_finish_time == 100
    assert await store.mean_cost("agent") == 40
    assert await backlogged(store) == ("ab" if shares == "application" else "")
    assert await store.serve(cost(80)) == 40
    assert await store.serve(cost(80)) == 100


async def test_touch_spares_and_never_moves_back(store: StateStore) -> None:
    await store.arrive(arrival("a"), NOW)
    await store.arrive(arrival("b"), NOW)
    await store.touch([A, ApplicationId("unknown"), A], NOW + 10)
    await store.touch([A, B], NOW - 1000)
    assert (await known(store, "a")).last_seen_at == NOW + 10
    assert (await known(store, "b")).last_seen_at == NOW
    assert [s.application.application_id for s in await store.expire(NOW + 10, 10)] == ["b"]


async def test_many_are_touched_and_expired_at_once(store: StateStore) -> None:
    names = [ApplicationId(f"{number:04}") for number in range(700)]
    for name in names:
        await store.arrive(arrival(name), NOW)
    await store.touch(names[:600], NOW + 5)
    assert [s.application.application_id for s in await store.expire(NOW + 5, 1000)] == names[600:]
    assert len(await store.expire(NOW + 6, 500)) == 500
    assert len((await store.snapshot(1000)).applications) == 100


# --- reports --------------------------------------------------------------------------------------------------------


async def test_reports_count_growth_once(store: StateStore) -> None:
    await store.arrive(arrival("a", 1e9), NOW)
    assert await store.report("engine", NANOSECONDS, cost(5000)) == 0  # nobody's mark to count from
    assert await store.report("engine", NANOSECONDS, cost(5010)) == 10
    assert await store.report("engine", NANOSECONDS, cost(5010)) == 10
    assert await store.report("engine", NANOSECONDS, cost(5003)) == 10
    assert await store.report("engine", NANOSECONDS, cost(5011)) == 11
    assert await store.report("other", NANOSECONDS, cost(7)) == 11
    assert await store.report("other", NANOSECONDS, cost(9)) == 13


async def test_a_restart_counts_from_zero_and_the_old_life_is_late(store: StateStore) -> None:
    await store.arrive(arrival("a", 1e9), NOW)
    await store.report("engine", NANOSECONDS, cost(5000))
    assert await store.report("engine", NANOSECONDS + 1, cost(30)) == 30
    assert await store.report("engine", NANOSECONDS, cost(9999)) == 30
    assert await store.report("engine", NANOSECONDS + 1, cost(31)) == 31
    assert await store.report("engine", NANOSECONDS + 2, cost(0)) == 31
    assert await store.report("engine", NANOSECONDS + 1, cost(99)) == 31
    assert await store.report("engine", NANOSECONDS + 2, cost(2)) == 33


async def test_incarnations_of_different_length_compare_as_numbers(store: StateStore) -> None:
    await store.arrive(arrival("a", 1e9), NOW)
    await store.report("engine", 9, cost(0))
    assert await store.report("engine", 10, cost(1)) == 1
    assert await store.report("engine", 9, cost(50)) == 1
    assert await store.report("engine", 2**63 - 1, cost(1)) == 2


# --- restore and snapshot -------------------------------------------------------------------------------------------


async def test_restore_raises_the_clock_and_never_lowers_it(store: StateStore) -> None:
    for name, total in [("a", 100), ("b", 200), ("c", 300)]:
        await store.arrive(arrival(name, total), NOW)
    await store.close(B)
    assert await store.restore(VirtualTime(200.0)) == 200
    assert await backlogged(store) == "c"
    assert await store.restore(VirtualTime(100.0)) == 200
    assert await store.serve(cost(50)) == 250
    assert (await known(store, "a")).virtual_finish_time == 100


async def test_a_snapshot_is_in_order_and_bounded(store: StateStore, shares: SharesName) -> None:
    await store.arrive(arrival("c", 10), NOW)
    await store.serve(cost(100))
    for name, total in [("b", 50), ("a", 50), ("d", 20), ("x", 30)]:
        await store.arrive(arrival(name, total), NOW)
    await store.close(ApplicationId("x"))
    whole = await store.snapshot(100)
    assert whole.virtual_time == 10
    assert whole.backlogged == (("d", "x", "a", "b") if shares == "application" else ("d", "a", "b"))
    assert [r.application_id for r in whole.applications] == ["c", "d", "a", "b"]
    assert await store.snapshot(10**30) == whole
    for limit in range(5):
        part = await store.snapshot(limit)
        assert part == replace(whole, backlogged=whole.backlogged[:limit], applications=whole.applications[:limit])


async def test_ties_are_ordered_by_code_point(store: StateStore) -> None:
    names = ["z", "é", "\uffff", "\U00010000", "Z", "zz", "\x00", ""]
    for name in names:
        await store.arrive(arrival(name, 10), NOW)
    snapshot = await store.snapshot(100)
    assert list(snapshot.backlogged) == sorted(names)
    assert [r.application_id for r in snapshot.applications] == sorted(names)


# --- what the order goes by -----------------------------------------------------------------------------------------


async def test_finish_times_are_those_of_the_open(store: StateStore) -> None:
    names = [ApplicationId(f"{number:04}") for number in range(600)]
    for number, name in enumerate(names):
        await store.arrive(arrival(name, 1.0 + number), NOW)
    await store.close(names[1])
    found = await store.finish_times([*names, ApplicationId("unknown")])
    assert found == {name: 1.0 + number for number, name in enumerate(names) if number != 1}
    assert await store.finish_times([]) == {}


async def test_due_is_what_gps_would_have_given_by_then(store: StateStore) -> None:
    await store.arrive(arrival("a", 60, weight=3000), NOW)
    await store.arrive(arrival("b", 100), NOW)
    await store.serve(cost(40))
    await store.arrive(arrival("c", 100), NOW)
    assert [(await known(store, name)).due for name in "abc"] == [30, 10, 0]
    await store.serve(cost(80))
    listed = (await store.snapshot(9)).applications
    assert {record.application_id: record.due for record in listed} == {"a": 60, "b": 35, "c": 25}


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", AWKWARD, ids=repr)
async def test_no_bit_is_lost(store: StateStore, shares: SharesName, value: float) -> None:
    standing = await store.arrive(arrival("a", value, 3), value)
    assert standing.application.predicted_cost == value
    counted = value if shares == "application" else math.floor(value)
    assert standing.application.virtual_finish_time == counted * 1000 / 3
    assert standing.application.arrived_at == value
    await charge_one(store, A, cost(value), value)
    assert (await known(store)).service == value
    assert await store.restore(VirtualTime(value)) == value


async def test_negative_zero_is_zero(store: StateStore) -> None:
    standing = await store.arrive(arrival("a", -0.0), -0.0)
    readings = [
        standing.application.predicted_cost,
        standing.application.arrived_at,
        await store.restore(VirtualTime(-0.0)),
    ]
    assert [math.copysign(1, reading) for reading in readings] == [1, 1, 1]


@pytest.mark.parametrize("name", ODD_IDS, ids=ascii)
async def test_any_text_is_an_id(store: StateStore, name: str) -> None:
    odd = ApplicationId(name)
    await store.arrive(arrival("a", 5), NOW)
    standing = await store.arrive(arrival(name, 10, kind=name, parent=odd), NOW)
    assert (standing.application.application_id, standing.application.parent) == (odd, odd)
    assert await store.get(odd) == standing
    assert (await store.snapshot(9)).backlogged == ("a", odd)
    await store.close(odd, cost(3))
    assert await store.mean_cost(name) == 3
    assert await store.get(odd) is None
    assert await known(store, "a")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0, -5e-324], ids=repr)
async def test_bad_amounts_are_refused_and_change_nothing(store: StateStore, bad: float) -> None:
    await store.arrive(arrival("b", 10), NOW)
    await store.report("engine", 1, cost(10))
    before = await store.snapshot(9)
    for refused in (
        store.arrive(arrival("a", bad), NOW),
        store.arrive(arrival("b", bad), NOW),
        store.serve(cost(bad)),
        store.report("engine", 1, cost(bad)),
        store.revise(B, cost(bad)),
        store.revise(A, cost(bad)),
        store.charge({B: cost(1), A: cost(bad)}, NOW),
        store.close(B, cost(bad)),
        store.restore(VirtualTime(bad)),
    ):
        with pytest.raises(ValueError, match="must"):
            await refused
    assert await store.snapshot(9) == before


async def test_other_bad_values_are_refused_and_change_nothing(store: StateStore) -> None:
    await store.arrive(arrival("b", 10), NOW)
    before = await store.snapshot(9)
    lone = ApplicationId("\ud800")
    for refused in (
        store.arrive(arrival("a", math.nextafter(MAX_COST, math.inf)), NOW),
        store.revise(B, cost(math.nextafter(MAX_COST, math.inf))),
        store.arrive(arrival("a", 1, 0), NOW),
        store.arrive(arrival("a", 1, -5), NOW),
        store.arrive(arrival("a", 1, MAX_WEIGHT + 1), NOW),
        store.arrive(replace(arrival("a"), weight=1000.0), NOW),  # type: ignore[arg-type]
        store.arrive(replace(arrival("a"), tenant_weight=Weight(0)), NOW),
        store.arrive(replace(arrival("b"), tenant_weight=Weight(0)), NOW),
        store.arrive(arrival("a"), math.nan),
        store.arrive(replace(arrival("a"), kind="\ud800"), NOW),
        store.arrive(arrival(lone), NOW),
        charge_one(store, B, cost(1), math.inf),
        store.charge({B: cost(1), lone: cost(1)}, NOW),
        store.touch([B], math.nan),
        store.touch([B, lone], NOW + 50),
        store.get(lone),
        store.mean_cost(lone),
        store.expire(math.nan, 1),
        store.expire(NOW, -1),
        store.snapshot(-1),
        store.report(lone, 1, cost(1)),
        store.report("engine", -1, cost(1)),
        store.report("engine", 2**63, cost(1)),
    ):
        with pytest.raises(ValueError, match=r"must|not valid text"):
            await refused
    assert await store.snapshot(9) == before


async def test_it_is_there(store: StateStore) -> None:
    await store.ping()
