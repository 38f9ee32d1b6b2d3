"""Shares of tenants for whatever is handed in. Costs are whole and weights powers of two: sums are exact."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness import ApplicationId, KvTokenTime, TenantClock, VirtualClock, Weight

COSTS = st.integers(0, 500).map(float)
OF_TENANTS = {"x": Weight(1000), "y": Weight(2000), "z": Weight(500)}


@dataclass(frozen=True)
class Step:
    """An application arrives, and is given some of the service that follows."""

    tenant: str
    cost: float
    service: float
    had: float


STEPS = st.lists(st.builds(Step, st.sampled_from(sorted(OF_TENANTS)), COSTS, COSTS, COSTS), min_size=1, max_size=12)


def name_of(number: int) -> ApplicationId:
    return ApplicationId(f"app-{number:02}")


def arrive(clock: TenantClock, name: ApplicationId, cost: float, tenant: str) -> None:
    clock.arrive(name, KvTokenTime(cost), tenant=tenant, tenant_weight=OF_TENANTS.get(tenant, Weight(1000)))


def take(clock: TenantClock, number: int, step: Step) -> None:
    arrive(clock, name_of(number), step.cost, step.tenant)
    clock.serve(KvTokenTime(step.service))
    clock.update(name_of(number), KvTokenTime(max(step.cost, step.had)), KvTokenTime(step.had))


@given(STEPS)
def test_with_a_tenant_for_each_it_is_the_clock_of_one_level(steps: list[Step]) -> None:
    clock, plain = TenantClock(), VirtualClock()
    for number, step in enumerate(steps):
        weight, name = OF_TENANTS[step.tenant], name_of(number)
        clock.arrive(name, KvTokenTime(step.cost), tenant=name, tenant_weight=weight)
        plain.arrive(name, KvTokenTime(step.cost), weight)
        assert clock.serve(KvTokenTime(step.service)) == plain.serve(KvTokenTime(step.service))
        cost = KvTokenTime(max(step.cost, step.had))
        assert clock.update(name, cost, KvTokenTime(step.had)) == plain.revise(name, cost)
        so_far = [name_of(earlier) for earlier in range(number + 1)]
        assert [clock.finish_time(one) for one in so_far] == [plain.finish_time(one) for one in so_far]
        assert clock.backlogged() == plain.backlogged()
        assert clock.weight_sum == plain.weight_sum


@given(STEPS)
def test_with_one_tenant_for_all_the_order_is_that_of_one_level(steps: list[Step]) -> None:
    clock, plain = TenantClock(), VirtualClock()
    for number, step in enumerate(steps):
        name, cost = name_of(number), KvTokenTime(max(step.cost, step.had))
        clock.arrive(name, KvTokenTime(step.cost), tenant="x")
        plain.arrive(name, KvTokenTime(step.cost))
        clock.update(name, cost, KvTokenTime(step.had))
        plain.revise(name, cost)
        plain.serve(KvTokenTime(step.had))  # what moves the tenant's own clock
    names = [name_of(number) for number in range(len(steps))]
    assert list(clock.finish_times(names)) == sorted(names, key=lambda one: (plain.finish_time(one), one))


@given(STEPS, st.lists(COSTS, min_size=1, max_size=20))
def test_a_job_in_pieces_ends_when_it_would_in_one_and_others_see_no_difference(
    steps: list[Step], pieces: list[float]
) -> None:
    whole, cut = TenantClock(), TenantClock()
    for clock in (whole, cut):
        for number, step in enumerate(steps):
            take(clock, number, step)
    arrive(whole, ApplicationId("job"), sum(pieces), "of-the-job")
    names = [ApplicationId(f"piece-{number}") for number in range(len(pieces))]
    for name, cost in zip(names, pieces, strict=True):
        arrive(cut, name, cost, "of-the-job")
    assert max(cut.finish_times(names).values()) == whole.finish_time(ApplicationId("job"))
    others = [name_of(number) for number in range(len(steps))]
    assert cut.finish_times(others) == whole.finish_times(others)
    assert cut.weight_sum == whole.weight_sum
    assert cut.serve(KvTokenTime(100.0)) == whole.serve(KvTokenTime(100.0))


@given(STEPS, STEPS)
def test_what_a_tenant_does_moves_nobody_elses_finish_times(steps: list[Step], more: list[Step]) -> None:
    clock = TenantClock()
    for number, step in enumerate(steps):
        take(clock, number, step)
    others = [name_of(number) for number, step in enumerate(steps) if step.tenant != "x"]
    before = clock.finish_times(others)
    for number, step in enumerate(more):
        name = ApplicationId(f"more-{number}")
        arrive(clock, name, step.cost, "x")
        clock.update(name, KvTokenTime(max(step.cost, step.had)), KvTokenTime(step.had))
        if number % 2:
            clock.close(name, KvTokenTime(step.service))
    assert clock.finish_times(others) == before


@given(STEPS)
def test_each_comes_after_the_one_before_it_by_what_is_left_of_it(steps: list[Step]) -> None:
    clock = TenantClock()
    for number, step in enumerate(steps):
        take(clock, number, step)
    for tenant, weight in OF_TENANTS.items():
        mine = [number for number, step in enumerate(steps) if step.tenant == tenant]
        finish_times = clock.finish_times(name_of(number) for number in mine)
        left = {name_of(number): max(0.0, steps[number].cost - steps[number].had) for number in mine}
        for (_, earlier), (name, later) in pairwise(finish_times.items()):
            assert later - earlier == pytest.approx(left[name] * 1000 / weight)


@given(STEPS)
def test_order_within_a_tenant_is_kept_by_its_finish_times(steps: list[Step]) -> None:
    clock = TenantClock()
    for number, step in enumerate(steps):
        take(clock, number, step)
        finish_times = clock.finish_times(name_of(earlier) for earlier in range(number + 1))
        for tenant in OF_TENANTS:
            mine = [
                finish_times[name] for name in finish_times if steps[int(name.removeprefix("app-"))].tenant == tenant
            ]
            assert mine == sorted(mine)
        assert all(finish_time >= 0 for finish_time in finish_times.values())
