"""Every call ends in exactly one outcome, whatever fails when, and nothing is left over: the real dispatcher.

Of three applications, one is of a tenant without limits, one of a tenant whose calls are capped, and one has quotas.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ApplicationClosed, ApplicationNotFound, StoreUnavailable
from gateway.identity.terms import TenantTerms
from gateway.scheduling.events import MemoryRead
from tests.fakes.world import Client
from tests.scheduling.limited import LimitedWorld

TENANT_OF = {"a": "free", "b": "capped", "c": "metered"}
TERMS = {
    "capped": TenantTerms(max_running_calls=1, max_waiting_calls=2),
    "metered": TenantTerms(tokens_per_minute=2000, kv_token_time_per_hour=50_000.0),
}

PICK = st.integers(0, 11)
APPLICATION = st.sampled_from(["a", "b", "c"])

STEP = st.one_of(
    st.tuples(st.just("call"), APPLICATION, st.integers(1, 600), st.booleans(), st.none()),
    st.tuples(st.just("call"), APPLICATION, st.integers(1, 600), st.booleans(), st.floats(-1.0, 50.0)),
    st.tuples(st.just("complete"), PICK, st.integers(0, 5000), st.booleans()),
    st.tuples(st.just("fail"), PICK),
    st.tuples(st.just("leave"), PICK),
    st.tuples(st.just("engine"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("restart"), st.integers(0, 1)),
    st.tuples(st.just("store"), st.booleans()),
    st.tuples(st.just("flush")),
    st.tuples(st.just("close"), APPLICATION),
    st.tuples(st.just("read")),
    st.tuples(st.just("sweep")),
    st.tuples(st.just("exchange"), st.booleans()),
    st.tuples(st.just("memory"), st.integers(-1, 1500)),
    st.tuples(st.just("time"), st.floats(0.01, 100.0)),
    st.tuples(st.just("settle"), st.integers(1, 5)),
)


async def take(world: LimitedWorld, clients: list[Client], step: Sequence[Any]) -> None:
    match step:
        case "call", application, tokens, final, deadline_s:
            request = world.of(TENANT_OF[application], application, tokens=tokens, final=final)
            clients.append(world.start(replace(request, deadline_s=deadline_s)))
            await world.settle(1)  # a task cancelled before its first step never was a call
        case "complete", pick, service, usage:
            if pick < len(clients):
                clients[pick].complete(service=service, usage=usage)
        case "fail", pick:
            if pick < len(clients):
                clients[pick].fail()
        case "leave", pick:
            if pick < len(clients):
                clients[pick].leave()
        case "engine", which, is_down:
            world.engines[which].is_down = is_down
        case "restart", which:
            world.engines[which].restart()
        case "store", is_down:
            world.store.is_down = is_down
        case ("flush",):
            world.store.flush()
        case "close", application:
            identity = world.of(TENANT_OF[application], application).identity
            asyncio.get_running_loop().create_task(close(world, identity.application_id))
        case ("read",):
            await world.read()
        case ("sweep",):
            await world.sweep()
        case "exchange", loses_answers:
            world.ledger.loses_answers = loses_answers
            await world.exchange()
        case "memory", excess_bytes:
            world.dispatcher._turnstile.tell(MemoryRead(excess_bytes))
        case "time", seconds:
            await world.pass_time(seconds)
        case "settle", turns:
            await world.settle(turns)


async def close(world: LimitedWorld, application_id: Any) -> None:
    with suppress(ApplicationNotFound, ApplicationClosed, StoreUnavailable):
        await world.dispatcher.desk.close(application_id)


async def finish(world: LimitedWorld, clients: list[Client]) -> None:
    """Everything comes back, everybody leaves, and time goes by."""
    world.store.is_down = world.ledger.loses_answers = False
    for engine in world.engines:
        engine.is_down = False
    for client in clients:
        client.leave()
    await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
    for _ in range(6):
        await world.pass_time(40.0)
        await world.read()
        await world.sweep()
    for seconds in (0.0, 7200.0):  # every quota leaks
        world.time += seconds
        await world.exchange()


async def history(steps: Sequence[Sequence[Any]], modes: Sequence[str]) -> None:
    world = LimitedWorld(
        TERMS, modes=modes, capacity=500, max_queued_calls=5, max_queued_bytes=1600, queue_timeout_s=30.0
    )
    clients: list[Client] = []
    await world.read()
    for step in steps:
        await take(world, clients, step)
    await finish(world, clients)
    assert sum(world.outcomes().values()) == len(clients)
    assert (world.gauge("calls_queued"), world.gauge("calls_running")) == (0, 0)
    dispatcher = world.dispatcher
    assert not dispatcher._scheduler._applications
    assert not dispatcher._turnstile._turns
    assert not dispatcher._scheduler._tenants._calls
    assert (dispatcher._scheduler._load.num_bytes, len(dispatcher._scheduler._bodies)) == (0, 0)
    metering = dispatcher._metering
    assert (len(metering.quotas), metering.quotas.num_holds, metering._by_formula) == (0, 0, {})
    used = [dispatcher.usage_of(tenant).total.calls for tenant in TENANT_OF.values()]
    assert sum(sum(calls.values()) for calls in used) == len(clients)
    assert not dispatcher._applications._known
    assert all(not feed._accounts for feed in dispatcher._feeds.values())
    assert (await world.store.snapshot(100)).applications == ()


@pytest.mark.parametrize("modes", [("patched", "patched"), ("patched", "priority"), ("unordered", "unordered")])
@settings(max_examples=80, deadline=None, derandomize=True)
@given(steps=st.lists(STEP, min_size=20, max_size=60))
def test_every_call_ends_once_and_nothing_is_left(modes: Sequence[str], steps: Sequence[Sequence[Any]]) -> None:
    asyncio.run(history(steps, modes))
