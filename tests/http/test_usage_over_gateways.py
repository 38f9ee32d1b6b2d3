"""What a tenant has used, through whichever gateway, and asked of whichever."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.fakes.engine import FakeVllm
from tests.fakes.protocols.turns import says
from tests.fakes.scripted_vllm import ScriptedVllm
from tests.http.gateways import RunningGateway, running_gateway, until

pytestmark = pytest.mark.redis

TENANTS = {"api_keys": {"key-of-alice": "alice", "key-of-bob": "bob"}}
ALICE = {"authorization": "Bearer key-of-alice"}
BOB = {"authorization": "Bearer key-of-bob"}


@pytest.fixture
async def engine() -> AsyncIterator[FakeVllm]:
    async with ScriptedVllm(says("Fair queueing shares a link.")) as engine:
        yield engine


@pytest.fixture
async def both(engine: FakeVllm, redis_url: str) -> AsyncIterator[list[RunningGateway]]:
    store: dict[str, object] = {"redis_url": redis_url, "prefix": secrets.token_hex(8), "timeout_s": 10}
    async with (
        running_gateway(engine, store=dict(store), tenants=dict(TENANTS)) as one,
        running_gateway(engine, store=dict(store), tenants=dict(TENANTS)) as other,
    ):
        yield [one, other]


async def call(gateway: RunningGateway, application: str, who: dict[str, str]) -> None:
    path = f"/apps/{application}/v1/chat/completions"
    answer = await gateway.post(path, {"model": "tiny", "messages": []}, headers=who)
    assert answer.status_code == 200


async def usage(gateway: RunningGateway, who: dict[str, str]) -> Any:
    return (await gateway.client.get("/v1/usage", headers=who)).json()


async def test_every_gateway_tells_the_same(both: list[RunningGateway]) -> None:
    one, other = both
    for gateway, application in ((one, "a"), (one, "a"), (other, "a"), (other, "b")):
        await call(gateway, application, ALICE)
    await call(one, "a", BOB)

    async def all_is_told() -> bool:
        told = [await usage(gateway, ALICE) for gateway in both]
        return all(sum(used["calls"] for used in one["applications"].values()) == 4 for one in told)

    await until(all_is_told)
    told = [await usage(gateway, ALICE) for gateway in both]
    assert told[0] == told[1]
    assert told[0]["counted_in"] == "all gateways"
    total = told[0]["total"]
    assert total["calls"] == {"completed": 4}
    assert total["kv_token_time"] == sum(used["kv_token_time"] for used in told[0]["applications"].values()) > 0
    assert told[0]["today"] == told[0]["this_hour"] == total
    assert set(told[0]["applications"]) == {"a", "b"}
    assert (await usage(other, BOB))["total"]["calls"] == {"completed": 1}


async def test_a_gateway_that_has_ended_is_still_counted(engine: FakeVllm, redis_url: str) -> None:
    store: dict[str, object] = {"redis_url": redis_url, "prefix": secrets.token_hex(8), "timeout_s": 10}
    async with running_gateway(engine, store=dict(store), tenants=dict(TENANTS)) as one:
        await call(one, "a", ALICE)
    async with running_gateway(engine, store=dict(store), tenants=dict(TENANTS)) as other:
        assert (await usage(other, ALICE))["total"]["calls"] == {"completed": 1}


async def test_while_redis_is_away_each_tells_of_itself(engine: FakeVllm, redis_server: RedisServer) -> None:
    store: dict[str, object] = {"redis_url": redis_server.url, "timeout_s": 0.3}
    async with running_gateway(engine, store=store, tenants=dict(TENANTS)) as gateway:
        await call(gateway, "a", ALICE)
        redis_server.hang()
        told = await usage(gateway, ALICE)
        assert told["counted_in"] == "this gateway"
        assert told["total"]["calls"] == {"completed": 1}
        redis_server.resume()

        async def is_back() -> bool:
            return (await usage(gateway, ALICE))["counted_in"] == "all gateways"

        await until(is_back)
        assert (await usage(gateway, ALICE))["total"]["calls"] == {"completed": 1}
