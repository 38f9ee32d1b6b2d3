"""Shares of tenants at a whole gateway: who is served, and that finish times follow what a tenant does."""

import asyncio
from collections.abc import Collection, Mapping

from gateway.errors import StoreUnavailable
from gateway.fairness.shares import SharesName
from gateway.fairness.units import ApplicationId, VirtualTime, Weight
from gateway.identity.terms import TenantTerms
from gateway.scheduling.tenant_order import TenantOrder
from tests.fakes.world import Client, World

ASKED_S = 0.03
"""After a change it takes a hundredth of a second to be asked about."""


def waiting_world(shares: SharesName) -> World:
    """An engine with room for one call of a hundred tokens at a time."""
    return World(capacity=100, shares=shares)


async def served_in_order(world: World, clients: Mapping[str, Client]) -> list[str]:
    """All of them to their ends, one after the other: the names in the order in which they were sent."""
    order: list[str] = []
    ended = 0
    while ended < len(clients):
        await asyncio.sleep(ASKED_S)
        await world.read()
        order += [name for name, client in clients.items() if client.lease is not None and name not in order]
        clients[order[ended]].complete(service=1000.0)
        ended += 1
        await world.settle()
    return order


async def crowd_and_one(shares: SharesName) -> list[str]:
    world = waiting_world(shares)
    await world.read()
    clients = {"first": world.start(world.request("first", cost=1000.0, tenant="z"))}
    await world.settle()
    for number in range(12):
        clients[f"crowd-{number:02}"] = world.start(world.request(f"crowd-{number:02}", cost=1000.0, tenant="x"))
        await world.settle()
    clients["one"] = world.start(world.request("one", cost=2000.0, tenant="y"))
    await world.settle()
    return await served_in_order(world, clients)


async def test_a_crowd_of_one_tenant_has_one_share() -> None:
    by_application = await crowd_and_one("application")
    assert by_application[-1] == "one"
    by_tenant = await crowd_and_one("tenant")
    assert by_tenant.index("one") == 3  # what costs 2,000 comes after the first 2,000 of the crowd
    assert [name for name in by_tenant if name != "one"] == [name for name in by_application if name != "one"]


async def test_a_newcomer_moves_its_own_tenants_applications_and_nobody_elses() -> None:
    world = waiting_world("tenant")
    await world.read()
    world.start(world.request("large", cost=5000.0, tenant="x"))
    world.start(world.request("other", cost=5000.0, tenant="y"))
    await world.settle()
    large, other = (world.dispatcher._applications.get(ApplicationId(name)) for name in ("x/large", "y/other"))
    assert large is not None
    assert other is not None
    assert (large.record.virtual_finish_time, other.record.virtual_finish_time) == (5000.0, 5000.0)
    small = world.start(world.request("small", cost=100.0, tenant="x"))
    await world.settle()
    assert large.record.virtual_finish_time == 5000.0
    await asyncio.sleep(ASKED_S)
    assert (large.record.virtual_finish_time, other.record.virtual_finish_time) == (5100.0, 5000.0)
    small.leave()
    await world.settle()
    await world.read()
    await world.dispatcher.desk.close(ApplicationId("x/small"))
    await asyncio.sleep(ASKED_S)
    assert large.record.virtual_finish_time == 5010.0  # it had ten


async def test_the_engine_hears_of_running_calls_that_move() -> None:
    world = World(shares="tenant")
    await world.read()
    world.start(world.request("large", cost=5000.0, tenant="x"))
    await world.settle()
    world.start(world.request("small", cost=100.0, tenant="x"))
    await world.settle()
    rerank = asyncio.create_task(world.dispatcher._feeds["e0"]._rerank_for_ever())
    await asyncio.sleep(ASKED_S)
    rerank.cancel()
    assert world.engines[0].reranked == [{ApplicationId("x/large"): 5100.0}]


async def test_a_burst_is_asked_about_together() -> None:
    world = waiting_world("tenant")
    await world.read()
    for number in range(50):
        world.start(world.request(f"a{number}", cost=1000.0, tenant="x"))
    await world.settle()
    await asyncio.sleep(ASKED_S)
    assert 1 <= world.store.asked.count("finish_times") <= 3


async def test_where_applications_have_the_shares_nothing_is_asked() -> None:
    world = waiting_world("application")
    await world.read()
    world.start(world.request("a", cost=1000.0, tenant="x"))
    world.start(world.request("b", cost=10.0, tenant="x"))
    await world.settle()
    await world.sweep()
    await asyncio.sleep(ASKED_S)
    assert "finish_times" not in world.store.asked


async def test_what_another_gateway_brings_shows_with_the_next_sweep() -> None:
    world = waiting_world("tenant")
    beside = World(beside=world, shares="tenant")
    for one in (world, beside):
        await one.read()
    world.start(world.request("large", cost=5000.0, tenant="x"))
    await world.settle()
    await asyncio.sleep(ASKED_S)
    beside.start(beside.request("small", cost=100.0, tenant="x"))
    await beside.settle()
    large = world.dispatcher._applications.get(ApplicationId("x/large"))
    assert large is not None
    assert large.record.virtual_finish_time == 5000.0
    await world.sweep()
    await asyncio.sleep(ASKED_S)
    assert large.record.virtual_finish_time == 5100.0


async def test_while_the_store_is_away_places_stay_and_follow_when_it_is_back() -> None:
    world = waiting_world("tenant")
    await world.read()
    world.start(world.request("large", cost=5000.0, tenant="x"))
    await world.settle()
    await asyncio.sleep(ASKED_S)
    world.store.is_down = True
    world.start(world.request("small", cost=100.0, tenant="x"))
    await world.settle()
    await asyncio.sleep(ASKED_S)
    large = world.dispatcher._applications.get(ApplicationId("x/large"))
    assert large is not None
    assert large.record.virtual_finish_time == 5000.0
    world.store.is_down = False
    await world.sweep()
    await asyncio.sleep(ASKED_S)
    assert large.record.virtual_finish_time == 5100.0


async def test_a_store_without_its_memory_learns_tenants_and_their_weights_anew() -> None:
    world = World(capacity=100, shares="tenant", terms_of=lambda tenant: TenantTerms(weight=Weight(2000)))
    await world.read()
    first = world.start(world.request("first", cost=1000.0, tenant="x"))
    await world.settle()
    first.complete(service=1000.0)
    await world.settle()
    await world.read()
    for name, cost in (("large", 5000.0), ("small", 100.0)):
        world.start(world.request(name, cost=cost, tenant="x"))
    await world.settle()
    await world.sweep()
    world.store.flush()
    await world.sweep()
    await asyncio.sleep(ASKED_S)
    assert world.store.inner._clock.virtual_time == 500.0
    for name, finish_time in (("small", 550.0), ("large", 3050.0)):
        local = world.dispatcher._applications.get(ApplicationId(f"x/{name}"))
        assert local is not None
        assert local.record.virtual_finish_time == finish_time


async def test_asking_takes_a_tenth_of_the_time_at_most() -> None:
    asked: list[float] = []
    loop, thrice = asyncio.get_running_loop(), asyncio.Event()

    async def finish_times(ids: Collection[ApplicationId]) -> Mapping[ApplicationId, VirtualTime]:
        asked.append(loop.time())
        order.changed("x")
        await asyncio.sleep(0.02)
        if len(asked) == 3:
            thrice.set()
        if len(asked) == 2:
            raise StoreUnavailable("away, as the test wants it")
        return {}

    order = TenantOrder(lambda tenants: [ApplicationId("x/a")], finish_times, lambda _, __: None)
    order.changed("x")
    await asyncio.wait_for(thrice.wait(), 10)
    assert asked[1] - asked[0] >= 0.2
    assert asked[2] - asked[1] < 0.2  # what failed has cost nothing


async def test_tenants_without_live_applications_are_not_asked_about() -> None:
    async def finish_times(ids: Collection[ApplicationId]) -> Mapping[ApplicationId, VirtualTime]:
        raise AssertionError("nobody is there")

    order = TenantOrder(lambda tenants: [], finish_times, lambda _, __: None)
    order.changed("x")
    await asyncio.sleep(ASKED_S)
    assert order._task is None
