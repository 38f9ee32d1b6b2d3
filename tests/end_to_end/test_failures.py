"""What goes wrong in production, done to the real parts under load. No call is lost without a typed answer."""

import asyncio
import collections
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import RedisServer
from tests.end_to_end.applications import call, run_all
from tests.fakes.running_engine import TOKEN, RunningEngine
from tests.fakes.running_gateway import RunningGateway, running_gateway
from tests.fakes.waiting import until

pytestmark = pytest.mark.engine


async def metric(gateway: RunningGateway, start: str) -> float:
    async with gateway.client() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"justitia_{start}"))


async def state_of(engine: RunningEngine) -> dict[str, int]:
    async with httpx.AsyncClient(base_url=engine.url, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        state: dict[str, int] = (await client.get("/justitia/state")).json()
        return state


async def is_idle(engine: RunningEngine) -> bool:
    state = await state_of(engine)
    return state["num_running"] + state["num_waiting"] == 0


async def is_running(engine: RunningEngine) -> bool:
    return (await state_of(engine))["num_running"] > 0


def has_ended(gateway: RunningGateway, num_calls: int) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await metric(gateway, "calls_total") >= num_calls

    return condition


async def grew(gateway: RunningGateway, name: str) -> bool:
    return await metric(gateway, name) > 0


async def is_ready(gateway: RunningGateway) -> bool:
    async with gateway.client() as client:
        return (await client.get("/readyz")).status_code == 200


async def has_no_calls(gateway: RunningGateway) -> bool:
    return await metric(gateway, "calls_running{") + await metric(gateway, "calls_queued{") == 0


@pytest.mark.redis
async def test_redis_killed_and_brought_back_under_load(
    engine: RunningEngine, tmp_path: Path, redis_server: RedisServer
) -> None:
    with running_gateway(tmp_path, "--engine", engine.url, "--redis", redis_server.url) as gateway:
        load = asyncio.create_task(
            run_all([gateway], [f"app{i}" for i in range(8)], calls=6, prompt_words=30, max_tokens=40)
        )
        await until(has_ended(gateway, 5))
        redis_server.kill()
        await until(lambda: grew(gateway, "store_errors_total"))
        async with gateway.client() as client:
            assert (await client.get("/readyz")).status_code == 503
            late = await call(client, "late", prompt_words=5, max_tokens=5)  # new while there is no store
            assert late.status_code == 200
        redis_server.start()
        await until(lambda: is_ready(gateway))
        responses = await load
        assert collections.Counter(response.status_code for response in responses) == {200: 48}
        assert "state store is away" in gateway.log()
        assert "state store is back" in gateway.log()
        assert await metric(gateway, 'calls_total{application_kind="default",outcome="completed"') == 49


async def test_told_to_stop_under_load_it_finishes_or_refuses(engine: RunningEngine, tmp_path: Path) -> None:
    with running_gateway(tmp_path, "--engine", engine.url) as gateway:
        load = asyncio.create_task(run_all([gateway], ["a", "b"], calls=12, prompt_words=30, max_tokens=120))
        await until(has_ended(gateway, 3))
        gateway.terminate()
        responses = await load
        counts = collections.Counter(response.status_code for response in responses)
        assert set(counts) == {200, 503}, counts
        for response in responses:
            if response.status_code == 503:
                assert response.json()["error"]["code"] == "shutting_down"
                assert int(response.headers["retry-after"]) >= 1
        assert gateway.process.wait(30) == 0
    await until(lambda: is_idle(engine), 10)


async def test_a_client_that_leaves_frees_its_slot_within_a_second(
    gateway: RunningGateway, engine: RunningEngine
) -> None:
    leaving = asyncio.create_task(run_all([gateway], ["gone"], calls=8, prompt_words=10, max_tokens=900))
    await until(lambda: is_running(engine))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await until(lambda: is_idle(engine), 1.0)
    await until(lambda: has_no_calls(gateway), 5)
    assert await metric(gateway, 'calls_total{application_kind="default",outcome="cancelled"') == 8


async def test_an_engine_that_is_down_is_said_so(tmp_path: Path, engine: RunningEngine) -> None:
    """One engine of two is down from the start: its model is nobody's after the grace, the other serves on."""
    environment = {"JUSTITIA_ENGINES__UNREACHABLE_GRACE_S": "0.5"}
    with running_gateway(
        tmp_path, "--engine", engine.url, "--engine", "http://127.0.0.1:9", environment=environment
    ) as gateway:
        async with gateway.client() as client:
            served = await call(client, "a", prompt_words=5, max_tokens=5)
            assert served.status_code == 200
            lost = await client.post("/v1/completions", json={"model": "other", "prompt": "x", "max_tokens": 5})
            assert (lost.status_code, lost.json()["error"]["code"]) == (502, "engine_unreachable")
            ready = (await client.get("/readyz")).json()
        assert "down" in str(ready)
