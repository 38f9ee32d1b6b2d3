"""What calls have cost, on its way into the store: many at once, each once, whatever happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime
from gateway.ports import Arrival
from gateway.scheduling.application_store import CHARGED_AT_ONCE
from gateway.scheduling.applications import Applications
from gateway.stores.memory import MemoryStore
from tests.fakes.world import World

A = ApplicationId("anonymous/a")


async def charged(world: World, *names: str, service: float = 300.0) -> None:
    """Each has a call that has ended; the store does not know yet what it held."""
    clients = [world.start(world.request(name, tokens=1)) for name in names]
    await world.settle(30 + 4 * len(names))
    for client in clients:
        client.complete(service=service)
    await world.settle(30 + 4 * len(names))
    await world.read()


async def in_store(world: World, name: str = "a") -> float:
    standing = await world.store.inner.get(world.identity(name).root)
    assert standing is not None
    return float(standing.application.service)


def unsent(world: World, name: str = "a") -> float:
    return world.dispatcher._applications.unsent_service(world.identity(name).root)


@asynccontextmanager
async def sweeping(world: World, held: dict[str, asyncio.Event], operation: str = "charge") -> AsyncIterator[None]:
    """A sweep that goes on when this is left; till then this operation, or its answer, is on its way."""
    on_its_way = held[operation] = asyncio.Event()
    sweep = asyncio.create_task(world.sweep())
    await world.settle()
    yield
    await world.settle()
    on_its_way.set()
    await sweep


async def ready() -> World:
    world = World(capacity=10**6)
    await world.read()
    return world


async def test_a_sweep_sends_many_in_one_question() -> None:
    world = await ready()
    names = [f"a{number}" for number in range(2 * CHARGED_AT_ONCE + 1)]
    for start in range(0, len(names), 50):  # an engine takes no more at once
        await charged(world, *names[start : start + 50])
    world.store.asked.clear()
    await world.sweep()
    assert world.store.asked.count("charge") == 3
    assert {await in_store(world, name) for name in names} == {300.0}
    world.store.asked.clear()
    await world.sweep()
    assert "charge" not in world.store.asked


async def test_what_the_store_did_not_take_is_sent_when_it_is_back() -> None:
    world = await ready()
    await charged(world, "a", "b")
    world.store.is_down = True
    await world.sweep()
    assert (unsent(world, "a"), unsent(world, "b")) == (300.0, 300.0)
    world.store.is_down = False
    await world.sweep()
    await world.sweep()
    assert (await in_store(world, "a"), await in_store(world, "b")) == (300.0, 300.0)
    assert unsent(world) == 0


async def test_a_charge_that_fails_on_its_way_is_sent_again() -> None:
    world = await ready()
    await charged(world, "a")
    async with sweeping(world, world.store.late):
        world.store.is_down = True
    world.store.is_down = False
    await world.sweep()
    assert await in_store(world) == 300.0


async def test_what_is_charged_while_the_store_is_told_goes_with_the_next() -> None:
    world = await ready()
    await charged(world, "a")
    async with sweeping(world, world.store.late):
        world.dispatcher._applications.charge(A, KvTokenTime(50.0))
    assert (await in_store(world), unsent(world)) == (300.0, 50.0)
    await world.sweep()
    assert (await in_store(world), unsent(world)) == (350.0, 0.0)


async def test_one_that_ends_while_the_store_is_told_is_charged_once_and_stays_closed() -> None:
    world = await ready()
    await charged(world, "a")
    async with sweeping(world, world.store.late_answers):
        world.dispatcher._applications.charge(A, KvTokenTime(50.0))
        closing = asyncio.create_task(world.dispatcher.desk.close(A))
    assert (await closing).service == 350.0
    assert await world.store.inner.mean_cost("k") == 350.0
    assert await world.store.inner.get(A) is None
    assert world.dispatcher._applications.get(A) is None


async def test_one_that_another_gateway_closed_while_it_ends_here_is_settled_once() -> None:
    world = await ready()
    await charged(world, "a")
    await world.store.inner.close(A)
    async with sweeping(world, world.store.late):
        closing = asyncio.create_task(world.dispatcher.desk.close(A))
    assert (await closing).service == 300.0
    assert await world.store.inner.mean_cost("k") == 300.0
    assert world.store.asked.count("arrive") == 2  # by its end alone, after its first call
    assert await world.store.inner.get(A) is None


async def test_one_that_has_ended_by_then_is_not_entered_again() -> None:
    world = await ready()
    await charged(world, "a", "b")
    for name in ("a", "b"):  # another gateway does
        await world.store.inner.close(world.identity(name).root)
    async with sweeping(world, world.store.late, "arrive"):
        b = world.identity("b").root
        await world.dispatcher.desk.close(b)
    assert await world.store.inner.get(A) is not None
    assert await world.store.inner.get(b) is None


async def test_one_that_another_gateway_closed_is_entered_again_with_what_it_had() -> None:
    world = await ready()
    await charged(world, "a")
    await world.store.inner.close(A)
    await world.sweep()
    await world.sweep()
    assert await in_store(world) == 300.0


async def test_calls_come_between_the_charges_of_very_many() -> None:
    world = await ready()
    applications = Applications(
        MemoryStore(),  # which answers without a pause
        world.predictor,
        world.settings.applications,
        world.metrics,
        lambda: world.time,
        on_ranked=lambda _: None,
        on_forgotten=lambda _: None,
        on_closed=lambda *_: None,
    )
    for number in range(4 * CHARGED_AT_ONCE):
        name = ApplicationId(f"anonymous/{number}")
        await applications.open(Arrival(name, "anonymous", "k", KvTokenTime(10.0), UNIT_WEIGHT), None, declared=True)
        applications.charge(name, KvTokenTime(5.0))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await applications.sweep()
    task.cancel()
    assert turns >= 6
