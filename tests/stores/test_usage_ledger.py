"""What every usage ledger must do, and then what only one in Redis can show."""

import secrets
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.ports import TenantShare, TenantTotals, UsageLedger
from gateway.stores.memory_usage import HEARTBEAT_S, TTL_S, MemoryUsage
from gateway.stores.redis_usage import RedisUsage
from tests.conftest import RedisServer

A_WHOLE_BUCKET_A_MOMENT = 1e12


@pytest.fixture
def prefix() -> str:
    return f"{{test:{secrets.token_hex(8)}}}"


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def ledger(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[UsageLedger]:
    if request.param == "memory":
        moments = count(1000.0, 0.01)
        yield MemoryUsage(lambda: next(moments))
        return
    made = RedisUsage(request.getfixturevalue("redis_url"), prefix=prefix, timeout_s=10)
    yield made
    await made.aclose()


async def test_adds_up_what_several_gateways_tell(ledger: UsageLedger) -> None:
    first = await ledger.exchange("g1", 1, {"a": TenantShare(100.0, 5000.5), "b": TenantShare(7.0)})
    assert first == {"a": TenantTotals(100.0, 5000.5, 0), "b": TenantTotals(7.0, 0.0, 0)}
    second = await ledger.exchange("g2", 1, {"a": TenantShare(20.0, 0.25)})
    assert second == {"a": TenantTotals(120.0, 5000.75, 0)}
    assert await ledger.exchange("g1", 2, {"a": TenantShare()}) == second
    assert await ledger.exchange("g1", 3, {}) == {}


async def test_what_is_told_again_is_not_added_again(ledger: UsageLedger) -> None:
    share = {"a": TenantShare(100.0, num_running=3)}
    once = await ledger.exchange("g1", 5, share)
    assert await ledger.exchange("g1", 5, share) == once
    assert await ledger.exchange("g1", 4, share) == once
    assert (await ledger.exchange("g1", 6, share))["a"].tokens == 200.0


async def test_an_estimate_is_corrected_and_never_below_nothing(ledger: UsageLedger) -> None:
    await ledger.exchange("g1", 1, {"a": TenantShare(0.0, 800.0)})
    assert (await ledger.exchange("g1", 2, {"a": TenantShare(0.0, -300.0)}))["a"].kv_token_time == 500.0
    assert (await ledger.exchange("g1", 3, {"a": TenantShare(-1.0, -900.0)}))["a"] == TenantTotals(0.0, 0.0, 0)


async def test_quotas_leak_each_at_its_own_pace(ledger: UsageLedger) -> None:
    full = TenantShare(100.0, 100.0, A_WHOLE_BUCKET_A_MOMENT, 0.0)
    assert (await ledger.exchange("g1", 1, {"a": full}))["a"] == TenantTotals(100.0, 100.0, 0)
    leaks = TenantShare(0.0, 0.0, A_WHOLE_BUCKET_A_MOMENT, 0.0)
    assert (await ledger.exchange("g2", 1, {"a": leaks}))["a"] == TenantTotals(0.0, 100.0, 0)


async def test_others_running_calls(ledger: UsageLedger) -> None:
    assert (await ledger.exchange("g1", 1, {"a": TenantShare(num_running=3)}))["a"].running_elsewhere == 0
    assert (await ledger.exchange("g2", 1, {"a": TenantShare(num_running=4)}))["a"].running_elsewhere == 3
    assert (await ledger.exchange("g3", 1, {"a": TenantShare()}))["a"].running_elsewhere == 7
    assert (await ledger.exchange("g1", 2, {"a": TenantShare(num_running=1)}))["a"].running_elsewhere == 4
    assert (await ledger.exchange("g2", 2, {"b": TenantShare(num_running=9)}))["b"].running_elsewhere == 0


@pytest.mark.parametrize(
    "share",
    [
        TenantShare(float("nan")),
        TenantShare(0.0, float("inf")),
        TenantShare(tokens_leak=-1.0),
        TenantShare(kv_token_time_leak=-1.0),
        TenantShare(num_running=-1),
    ],
)
async def test_refuses_what_cannot_be_and_adds_nothing_of_it(ledger: UsageLedger, share: TenantShare) -> None:
    with pytest.raises(ValueError, match="not a share"):
        await ledger.exchange("g1", 1, {"a": TenantShare(5.0), "b": share})
    assert (await ledger.exchange("g1", 1, {"a": TenantShare(1.0)}))["a"].tokens == 1.0


async def test_a_gateway_that_is_silent_runs_nothing_and_forgotten_tenants_leave() -> None:
    times: Iterator[float] = iter((0.0, HEARTBEAT_S - 0.1, HEARTBEAT_S, TTL_S + HEARTBEAT_S))
    ledger = MemoryUsage(lambda: next(times))
    await ledger.exchange("g1", 1, {"a": TenantShare(num_running=3)})
    assert (await ledger.exchange("g2", 1, {"a": TenantShare()}))["a"].running_elsewhere == 3
    assert (await ledger.exchange("g2", 2, {"a": TenantShare()}))["a"].running_elsewhere == 0
    await ledger.exchange("g2", 3, {"b": TenantShare()})
    assert len(ledger) == 1


@pytest.mark.redis
async def test_in_redis_everything_has_a_time_to_live_and_silent_gateways_run_out(redis_url: str, prefix: str) -> None:
    ledger = RedisUsage(redis_url, prefix=prefix, timeout_s=10)
    await ledger.exchange("g1", 1, {"a": TenantShare(5.0, num_running=3)})
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        keys = sorted([key async for key in client.scan_iter(f"{prefix}:*")])
        assert keys == [f"{prefix}:gateway:g1", f"{prefix}:usage:a"]
        assert [0 < await client.ttl(key) <= TTL_S for key in keys] == [True, True]
        await client.hset(f"{prefix}:usage:a", mapping={"run:gone": "7 1000.5", "run:odd": "?"})
        assert (await ledger.exchange("g2", 1, {"a": TenantShare()}))["a"].running_elsewhere == 3
        left = set(await client.hkeys(f"{prefix}:usage:a"))
        assert left == {"tokens", "kv_token_time", "at", "run:g1", "run:g2"}
    await ledger.aclose()


@pytest.mark.redis
async def test_a_cluster_takes_it_and_a_redis_that_hangs_is_away(redis_cluster: RedisServer) -> None:
    ledger = RedisUsage(redis_cluster.url, timeout_s=0.3)
    shares = {f"t{i}": TenantShare(float(i)) for i in range(256)}
    assert (await ledger.exchange("g1", 1, shares))["t255"].tokens == 255.0
    redis_cluster.hang()
    with pytest.raises(StoreUnavailable):
        await ledger.exchange("g1", 2, shares)
    redis_cluster.resume()
    assert (await ledger.exchange("g1", 2, shares))["t255"].tokens == 510.0
    await ledger.aclose()
