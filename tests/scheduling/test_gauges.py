"""What the dispatcher shows of itself, read from the metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway import errors
from tests.fakes.waiting import until
from tests.fakes.world import Client, World


@contextlib.asynccontextmanager
async def ready(**settings: object) -> AsyncIterator[World]:
    world = World(**settings)  # type: ignore[arg-type]
    await world.read()
    yield world
    for client in world.clients:
        client.leave()
    await world.settle()


async def started(world: World, application: str, **request: object) -> Client:
    client = world.start(world.request(application, **request))  # type: ignore[arg-type]
    await world.settle()
    return client


def value(world: World, name: str, **labels: str) -> float | None:
    return world.metrics.registry.get_sample_value(f"justitia_{name}", {"policy": "justitia", **labels})


async def swept(world: World) -> None:
    await world.sweep()
    snapshot = await world.dispatcher._applications.snapshot()
    scheduler = world.dispatcher._scheduler
    world.dispatcher._gauges.sweep(
        snapshot,
        lambda application_id: any(scheduler.counts(application_id)),
        scheduler.num_held(),
        world.time,
        store_is_up=world.dispatcher._applications.store_is_up,
    )


async def serves(world: World, client: Client, service: float) -> None:
    """The call ends, and all is read a second later."""
    client.complete(service=service)
    await world.settle()
    world.time += 1.0
    await world.read()
    await swept(world)


async def test_waiting_calls_by_class_and_the_oldest() -> None:
    async with ready(capacity=100) as world:
        for _ in range(4):  # one runs, one waits in the engine
            await started(world, "a", cost=5000)
            world.time += 2.0
        world.dispatcher._gauge()
        assert value(world, "tenant_calls_queued", tenant_class="standard") == world.gauge("calls_queued") == 2
        assert value(world, "tenant_calls_queued", tenant_class="high") == 0
        assert world.gauge("call_oldest_wait_seconds") == 4.0
        assert world.gauge("calls_queued_limit") == world.settings.scheduling.max_queued_calls
        for client in world.clients:
            client.leave()
        await world.settle()
        world.dispatcher._gauge()
        assert value(world, "tenant_calls_queued", tenant_class="standard") == 0
        assert world.gauge("call_oldest_wait_seconds") == 0


async def test_what_holds_the_waiting_calls() -> None:
    async with ready(capacity=100) as world:
        for _ in range(4):
            await started(world, "a", cost=5000)
        await swept(world)
        held = {
            hold: value(world, "calls_held", hold=hold) for hold in ("capacity", "order", "tenant_cap", "no_engine")
        }
        assert held == {"capacity": 1, "order": 1, "tenant_cap": 0, "no_engine": 0}
        world.engines[0].is_down = True
        await world.read()
        await swept(world)
        assert value(world, "calls_held", hold="no_engine") == 2


async def test_a_refusal_is_counted_by_its_reason() -> None:
    async with ready(capacity=100, max_queued_calls=1) as world:
        clients = [await started(world, "a", cost=5000) for _ in range(4)]
        assert isinstance(clients[-1].error, errors.QueueFull)
        assert value(world, "refusals_total", reason="queue_full") == 1


async def test_who_comes_while_it_drains_is_counted_as_such() -> None:
    async with ready(capacity=100) as world:
        for _ in range(3):
            await started(world, "a", cost=5000)
        world.dispatcher.begin_drain()
        await started(world, "b")
        assert value(world, "refusals_total", reason="shutting_down") == 2  # the one that waited, and the newcomer


async def test_tokens_and_service_of_a_class() -> None:
    async with ready() as world:
        client = await started(world, "a")
        client.complete(service=1234.0)
        await world.settle()
        await world.read()
        world.dispatcher._gauge()
        world.dispatcher._gauge()  # counts nothing twice
        assert value(world, "tokens_total", direction="prompt") == 100
        assert value(world, "tokens_total", direction="completion") == 10
        assert value(world, "tenant_service_kv_token_iterations_total", tenant_class="standard") == 1234


async def test_lateness_bound_and_spread_from_real_readings() -> None:
    """a is predicted at 100, GPS has finished it when 100 were delivered, and its call goes on."""
    async with ready(capacity=1000) as world:
        late = await started(world, "a", cost=100)
        await serves(world, await started(world, "b", cost=5000), 150.0)  # V: 75
        assert world.gauge("application_lateness_kv_token_iterations") == 0
        assert world.gauge("application_lateness_bound_kv_token_iterations") == 2 * 1000 * 10  # an answer of 10
        await serves(world, await started(world, "b"), 150.0)  # V: 100 of a and b, then of b alone
        await serves(world, await started(world, "b"), 400.0)
        assert world.gauge("application_lateness_kv_token_iterations") == 400
        assert world.gauge("virtual_cost_max_kv_token_iterations") == 5000
        await serves(world, late, 10.0)
        assert world.gauge("application_lateness_kv_token_iterations") == 0


async def test_a_store_that_is_away_is_seen() -> None:
    async with ready() as world:
        world.store.is_down = True
        await swept(world)
        assert world.gauge("store_up") == 0
        world.store.is_down = False
        await swept(world)
        assert world.gauge("store_up") == 1


async def test_an_engine_that_is_away_has_no_mode_and_no_memory() -> None:
    async with ready(capacity=1000) as world:
        assert value(world, "engine_mode", engine="e0", mode="patched") == 1
        assert value(world, "engine_kv_capacity_tokens", engine="e0") == 1000
        await serves(world, await started(world, "a"), 10.0)
        assert world.gauge("application_lateness_bound_kv_token_iterations") > 0
        world.engines[0].is_down = True
        await world.read()
        await swept(world)
        assert value(world, "engine_mode", engine="e0", mode="patched") == 0
        assert world.gauge("application_lateness_bound_kv_token_iterations") == 0


async def test_the_real_loops_set_them() -> None:
    """Nobody calls them by hand in production."""
    async with ready() as world:

        async def is_set() -> bool:
            return bool(value(world, "application_lateness_bound_kv_token_iterations"))

        client = await started(world, "a")
        running = asyncio.create_task(world.dispatcher.run())
        client.complete()
        await until(is_set)
        running.cancel()
        assert world.gauge("store_up") == 1
