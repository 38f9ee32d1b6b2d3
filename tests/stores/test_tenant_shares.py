"""What every state store must do where tenants have the shares. Every number here is exact in binary."""

import pytest

from gateway.fairness import SharesName
from gateway.fairness.tenant_clock import EXACT
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.ports import ApplicationRecord, Arrival, StateStore
from tests.stores.charging import charge_one

A, B, C, D = (ApplicationId(letter) for letter in "abcd")
NOW = 1_700_000_000.25


@pytest.fixture
def shares() -> SharesName:
    return "tenant"


def cost(value: float) -> KvTokenTime:
    return KvTokenTime(value)


async def arrive(
    store: StateStore, name: str, tenant: str, total: float, weight: int = 1000, tenant_weight: int = UNIT_WEIGHT
) -> ApplicationRecord:
    arrival = Arrival(
        ApplicationId(name), tenant, "agent", cost(total), Weight(weight), None, tenant_weight=Weight(tenant_weight)
    )
    return (await store.arrive(arrival, NOW)).application


async def finish_times(store: StateStore, names: str = "abcd") -> dict[str, float]:
    return {str(id_): finish for id_, finish in (await store.finish_times([ApplicationId(n) for n in names])).items()}


async def backlogged(store: StateStore) -> str:
    return "".join((await store.snapshot(100)).backlogged)


async def due(store: StateStore, names: str) -> list[float]:
    by_id = {record.application_id: record.due for record in (await store.snapshot(100)).applications}
    return [by_id[ApplicationId(name)] for name in names]


async def test_a_tenant_has_one_share_and_its_applications_come_one_after_the_other(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    await arrive(store, "b", "y", 100)
    third = await arrive(store, "c", "y", 70)
    assert (third.virtual_start, third.virtual_finish_time) == (0, 70)
    assert await finish_times(store) == {"a": 100, "c": 70, "b": 170}
    assert await backlogged(store) == "cab"
    assert await store.serve(cost(80)) == 40


async def test_a_newcomer_delays_its_own_tenant_and_nobody_else(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    await arrive(store, "b", "y", 100)
    newcomer = await arrive(store, "c", "x", 10)
    assert newcomer.virtual_finish_time == 10
    assert await finish_times(store) == {"a": 110, "b": 100, "c": 10}
    standing = await store.get(A)
    assert standing is not None
    assert standing.application.virtual_finish_time == 110


async def test_weights_count_among_tenants_and_within_each(store: StateStore) -> None:
    await arrive(store, "a", "x", 60, 1000, tenant_weight=2000)
    await arrive(store, "b", "x", 90, 2000, tenant_weight=2000)
    await arrive(store, "c", "y", 60)
    assert await finish_times(store) == {"b": 45, "a": 75, "c": 60}
    assert await store.serve(cost(90)) == 30


async def test_within_a_tenant_small_newcomers_pass_a_large_one_until_its_turn_has_come(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    passed = []
    for number in range(12):
        name = ApplicationId(f"small-{number}")
        small = await arrive(store, name, "x", 40)
        passed.append(small.virtual_finish_time < (await finish_times(store, "a"))["a"])
        await store.close(name, cost(40))
    assert passed[0]
    assert not passed[-1]
    assert passed == sorted(passed, reverse=True)


async def test_a_job_in_pieces_ends_where_the_whole_of_it_does(store: StateStore) -> None:
    await arrive(store, "a", "x", 400)
    for number in range(8):
        await arrive(store, f"piece-{number}", "y", 50)
    assert (await store.snapshot(100)).backlogged[-2:] == ("a", "piece-7")
    assert await store.serve(cost(800)) == 400
    assert await backlogged(store) == ""


async def test_what_a_tenant_did_not_use_is_not_saved_up(store: StateStore) -> None:
    await arrive(store, "a", "x", 10)
    await arrive(store, "b", "y", 1000)
    assert await store.serve(cost(220)) == 210
    assert (await arrive(store, "c", "x", 20)).virtual_finish_time == 230
    assert (await finish_times(store, "a"))["a"] <= 210  # still due, and before all others
    assert await backlogged(store) == "cb"


async def test_handed_in_while_it_has_work_it_comes_after_that(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    await arrive(store, "b", "y", 1000)
    await store.serve(cost(150))
    assert (await arrive(store, "c", "x", 100)).virtual_finish_time == 200
    assert await store.serve(cost(100)) == 125


async def test_a_tenant_that_comes_back_begins_where_it_would_have_ended(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    await arrive(store, "b", "y", 1000)
    await store.close(A, cost(100))
    await store.serve(cost(60))
    back = await arrive(store, "a", "x", 50)
    assert (back.virtual_start, back.virtual_finish_time) == (30, 150)
    await store.close(A, cost(0))
    assert await store.serve(cost(140)) == 100
    assert await store.serve(cost(20)) == 120  # alone
    assert (await arrive(store, "c", "x", 50)).virtual_finish_time == 170


async def test_who_has_had_more_than_was_predicted_comes_later_with_all_behind_it(store: StateStore) -> None:
    await arrive(store, "a", "x", 10)
    await arrive(store, "b", "x", 50)
    await arrive(store, "c", "y", 30)
    late = await charge_one(store, A, cost(40), NOW)
    assert late is not None
    assert (late.application.virtual_finish_time, late.application.service) == (40, 40)
    assert await finish_times(store) == {"a": 40, "b": 90, "c": 30}
    lower = await store.revise(A, cost(5))
    assert lower is not None
    assert (lower.application.virtual_finish_time, lower.application.predicted_cost) == (40, 5)


async def test_what_has_been_served_moves_no_finish_time(store: StateStore) -> None:
    for name, total in (("a", 100), ("b", 50), ("c", 10)):
        await arrive(store, name, "x", total)
    await arrive(store, "d", "y", 1000)
    assert await finish_times(store, "abc") == {"c": 10, "b": 60, "a": 160}
    await store.serve(cost(20))
    await charge_one(store, C, cost(10), NOW)
    await charge_one(store, A, cost(10), NOW)
    assert await finish_times(store, "abc") == {"c": 20, "b": 70, "a": 160}  # a had ten that the others had a claim to
    await store.close(C, cost(10))
    assert await finish_times(store, "abc") == {"b": 70, "a": 160}


async def test_settling_below_the_prediction_brings_the_others_forward(store: StateStore) -> None:
    await arrive(store, "a", "x", 10)
    await arrive(store, "b", "x", 50)
    await arrive(store, "c", "x", 70)
    settled = await store.close(A, cost(2))
    assert settled is not None
    assert settled.application.virtual_finish_time == 2
    assert await finish_times(store) == {"b": 52, "c": 122}
    as_predicted = await store.close(B)
    assert as_predicted is not None
    assert as_predicted.application.virtual_finish_time == 52
    assert await finish_times(store) == {"c": 122}


async def test_a_tenants_weight_is_the_one_given_last(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    await store.serve(cost(20))
    # 80 are owed of A, which comes after B: all of the 160 end at V + 160 / 4.
    await arrive(store, "b", "x", 80, tenant_weight=4000)
    assert await finish_times(store) == {"b": 20 + 60 / 4, "a": 20 + 160 / 4}
    await arrive(store, "c", "y", 1000)
    assert await store.serve(cost(50)) == 20 + 50 / 5


async def test_a_weight_changed_before_the_old_end_does_not_count_the_old_work_again(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    await arrive(store, "b", "y", 1000)
    await store.close(A, cost(100))
    await store.serve(cost(60))
    assert (await arrive(store, "c", "x", 50)).virtual_finish_time == 150
    assert (await arrive(store, "d", "x", 100, tenant_weight=2000)).virtual_finish_time == 175


async def test_due_is_what_its_tenants_share_would_have_given_it(store: StateStore) -> None:
    await arrive(store, "a", "x", 30)
    await arrive(store, "b", "x", 50)
    await arrive(store, "c", "y", 1000)
    await store.serve(cost(80))
    assert await due(store, "abc") == [30, 10, 40]
    await charge_one(store, C, cost(80), NOW)
    await charge_one(store, B, cost(20), NOW)
    assert await due(store, "abc") == [20, 20, 80]


async def test_costs_count_in_whole_units(store: StateStore) -> None:
    assert (await arrive(store, "a", "x", 10.9)).virtual_finish_time == 10
    charged = await charge_one(store, A, cost(11.2), NOW)
    assert charged is not None
    assert (charged.application.virtual_finish_time, charged.application.service) == (11, 11.2)
    closed = await store.close(A, cost(12.7))
    assert closed is not None
    assert closed.application.virtual_finish_time == 12
    assert await store.mean_cost("agent") == 12.7


async def test_more_than_any_cost_may_be_handed_in_together(store: StateStore) -> None:
    for name in "abc":
        await arrive(store, name, "x", 1e15)
    assert await finish_times(store) == {"a": 1e15, "b": 2e15, "c": 3e15}


async def test_expired_ones_leave_their_tenant(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    await arrive(store, "b", "x", 40)
    await arrive(store, "c", "x", 300)
    await charge_one(store, A, cost(60), NOW)
    await store.touch([C], NOW + 5)
    first, second = await store.expire(NOW + 5, 10)
    assert (first.application.application_id, first.application.virtual_finish_time) == ("a", 100)
    assert (second.application.application_id, second.application.virtual_finish_time) == ("b", 100)
    assert await finish_times(store) == {"c": 400}
    assert await store.mean_cost("agent") == 60


async def test_an_open_id_arriving_again_changes_neither_weight_nor_tenant(store: StateStore) -> None:
    await arrive(store, "a", "x", 100)
    again = await arrive(store, "a", "y", 7, 9000, tenant_weight=9000)
    assert (again.tenant, again.virtual_finish_time) == ("x", 100)
    assert await store.serve(cost(10)) == 10


async def test_restore_passes_tenants(store: StateStore) -> None:
    await arrive(store, "a", "x", 10)
    await arrive(store, "b", "y", 100)
    assert await store.restore(VirtualTime(60)) == 60
    assert await backlogged(store) == "b"
    assert await store.serve(cost(10)) == 70


async def test_a_snapshot_goes_through_all_tenants(store: StateStore) -> None:
    for number in range(12):
        await arrive(store, f"{number:02}", f"tenant-{number % 3}", 10 * (1 + number % 4))
    await store.serve(cost(75))
    whole = await store.snapshot(100)
    in_order = [(record.virtual_finish_time, record.application_id) for record in whole.applications]
    assert len(in_order) == 12
    assert in_order == sorted(in_order)
    assert list(whole.backlogged) == [id_ for finish, id_ in in_order if finish > whole.virtual_time]
    assert 0 < len(whole.backlogged) < 12
    for limit in range(13):
        part = await store.snapshot(limit)
        assert part.applications == whole.applications[:limit]
        assert part.backlogged == whole.backlogged[:limit]


async def test_of_those_that_finish_together_the_first_by_id_are_listed(store: StateStore) -> None:
    """In their tenant's order it is the other way round: there, what each costs in all counts."""
    for number, name in enumerate("edcba"):
        await arrive(store, name, "x", 10 * (1 + number))
        await charge_one(store, ApplicationId(name), cost(10 * (1 + number)), NOW)
    for limit in range(6):
        part = await store.snapshot(limit)
        assert [record.application_id for record in part.applications] == list("abcde")[:limit]
        assert "".join(part.backlogged) == "abcde"[:limit]


async def test_behind_the_first_of_a_tenant_what_is_left_is_spread_evenly(store: StateStore) -> None:
    many = [ApplicationId(f"{number:04}") for number in range(2 * EXACT)]
    for number, name in enumerate(many):
        await arrive(store, name, "x", 1 + number)
    found = await store.finish_times(many)
    exact = [sum(range(1, number + 2)) for number in range(2 * EXACT)]
    each = (exact[-1] - exact[EXACT - 1]) / EXACT
    expected = exact[:EXACT] + [exact[EXACT - 1] + each * (number + 1) for number in range(EXACT)]
    assert [found[name] for name in many] == expected
    snapshot = await store.snapshot(1000)
    assert [record.virtual_finish_time for record in snapshot.applications] == expected
    await store.restore(VirtualTime(expected[EXACT + 9]))
    assert (await store.snapshot(3)).backlogged == tuple(many[EXACT + 10 : EXACT + 13])
    for name in many[:EXACT]:
        await store.close(name)
    assert list((await store.finish_times(many)).values()) == exact[EXACT:]


async def test_very_many_expire_at_once(store: StateStore) -> None:
    names = [ApplicationId(f"{number:04}") for number in range(3 * EXACT)]
    for number, name in enumerate(names):
        await arrive(store, name, f"tenant-{number % 2}", 10)
    assert [s.application.application_id for s in await store.expire(NOW + 1, 1000)] == names
    assert await store.finish_times(names) == {}
    assert await store.serve(cost(1e9)) == 10 * len(names) / 2
