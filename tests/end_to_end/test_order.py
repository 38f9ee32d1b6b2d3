"""The order that was decided is the order that the engine took: from its own trace."""

import asyncio
from pathlib import Path

import pytest

from tests.end_to_end.applications import call, declare, finish_time_of, run_all, scheduled_order
from tests.fakes.running_engine import RunningEngine
from tests.fakes.running_gateway import RunningGateway, running_gateway
from tests.fakes.waiting import until

pytestmark = pytest.mark.engine

COSTS = {"elephant": 9e6, "dog": 3e5, "cat": 1e5, "mouse": 2e4, "ant": 5e3}
"""In reverse: the order of arrival is the opposite of the order of finish times."""


async def fill_the_engine(gateway: RunningGateway, engine: RunningEngine) -> tuple[asyncio.Task[None], int]:
    """An application that takes every sequence slot for a while, so that what comes then must queue. (When its first
    calls have ended it has had far more than it declared, and the rest of them goes where that puts it.)"""
    mark = engine.mark()
    await declare(gateway, "blocker", 1.0)

    async def block() -> None:
        await run_all([gateway], ["blocker"], calls=8, prompt_words=20, max_tokens=450)

    blocking = asyncio.create_task(block())

    async def is_full() -> bool:
        return scheduled_order(engine.events(mark)).count("blocker") >= 4

    await until(is_full)
    return blocking, mark


def assert_served_in_order(order: list[str], num_calls: int) -> None:
    served = [name for name in order if name != "blocker"]
    assert len(served) == num_calls * len(COSTS)
    expected = [name for name in sorted(COSTS, key=lambda name: COSTS[name]) for _ in range(num_calls)]
    assert served == expected


async def test_first_scheduled_order_follows_virtual_finish_time(
    gateway: RunningGateway, engine: RunningEngine
) -> None:
    finish = {name: await declare(gateway, name, cost) for name, cost in COSTS.items()}
    blocking, mark = await fill_the_engine(gateway, engine)
    assert sorted(finish, key=lambda name: finish[name]) == sorted(COSTS, key=lambda name: COSTS[name])
    responses = await run_all([gateway], list(COSTS), calls=3, prompt_words=100, max_tokens=20)
    await blocking
    assert [response.status_code for response in responses] == [200] * 15
    events = engine.events(mark)
    assert_served_in_order(scheduled_order(events), 3)
    # And nobody better waited inside the engine when a call was taken.
    taken = [event for event in events if event["event"] == "scheduled" and event["best_waiting"] is not None]
    assert all(event["rank"] <= event["best_waiting"] for event in taken)
    ranks = {e["application_id"].rpartition("/")[2]: finish_time_of(e["rank"]) for e in events if e["event"] == "added"}
    assert {name: ranks[name] for name in COSTS} == finish


async def test_every_victim_has_the_largest_finish_time_of_those_running(
    gateway: RunningGateway, engine: RunningEngine
) -> None:
    mark = engine.mark()
    for name, cost in COSTS.items():
        await declare(gateway, name, cost)
    # Four at a time of up to 750 tokens each, where 2,048 fit: memory runs out as they grow.
    responses = await run_all([gateway], list(COSTS), calls=2, prompt_words=20, max_tokens=700)
    assert [response.status_code for response in responses] == [200] * 10
    victims = [event for event in engine.events(mark) if event["event"] == "preempted"]
    assert victims, "memory never ran out: this test has lost its point"
    for victim in victims:
        assert victim["rank"] == max(rank for _, rank in victim["running"])


@pytest.mark.redis
async def test_two_gateways_one_redis_one_engine_one_order(
    engine: RunningEngine, tmp_path: Path, redis_url: str
) -> None:
    shared = ("--engine", engine.url, "--redis", redis_url)
    environment = {"JUSTITIA_STORE__PREFIX": "one-order"}
    with (
        running_gateway(tmp_path, *shared, environment=environment) as left,
        running_gateway(tmp_path, *shared, environment=environment) as right,
    ):
        for i, (name, cost) in enumerate(COSTS.items()):
            await declare((right, left)[i % 2], name, cost)
        blocking, mark = await fill_the_engine(left, engine)
        responses = await run_all([left, right], list(COSTS), calls=3, prompt_words=100, max_tokens=20)
        await blocking
        assert [response.status_code for response in responses] == [200] * 15
        assert_served_in_order(scheduled_order(engine.events(mark)), 3)
        # Each engine's service is counted once: both see one clock, and it has not run ahead of the engine's counter.
        async with left.client() as one, right.client() as other:
            listed = [(await client.get("/v1/applications")).json() for client in (one, other)]
        assert [a["id"] for a in listed[0]["data"]] == [a["id"] for a in listed[1]["data"]]


async def test_a_close_settles_at_what_the_engine_measured(gateway: RunningGateway, engine: RunningEngine) -> None:
    mark = engine.mark()
    await declare(gateway, "one", 5e4)
    async with gateway.client() as client:
        response = await call(client, "one", prompt_words=5, max_tokens=5)
        assert response.status_code == 200
        assert response.headers["x-justitia-application"] == "one"
        assert response.headers["x-justitia-identity"] == "path"
        closed = await client.post("/v1/applications/one/close")
        assert closed.status_code == 200
        assert closed.json()["service"] > 0
        again = await client.post("/v1/applications/one/close")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "application_closed")
    assert scheduled_order(engine.events(mark)) == ["one"]
