"""What every place must do that adds up what tenants use, and then what only one in Redis can show."""

import secrets
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.stores.memory_usage_sums import MemoryUsageSums
from gateway.stores.redis_usage_sums import RedisUsageSums
from gateway.usage_sums import (
    APPLICATION_TTL_S,
    DAY_S,
    HOUR_S,
    MAX_APPLICATIONS,
    TENANT_TTL_S,
    UsageSums,
    Used,
    UsedOverall,
)
from tests.conftest import RedisServer

MAX_TENANTS = 3


@pytest.fixture
def prefix() -> str:
    return f"{{test:{secrets.token_hex(8)}}}"


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def sums(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[UsageSums]:
    if request.param == "memory":
        yield MemoryUsageSums(lambda: 1_790_000_000.0, max_tenants=MAX_TENANTS)
        return
    url = request.getfixturevalue("redis_url")
    made = RedisUsageSums(url, prefix=prefix, timeout_s=10, max_tenants=MAX_TENANTS)
    yield made
    await made.aclose()


def service(amount: float) -> Used:
    return Used({"kv_token_time": amount})


def of(application: str, calls: float, amount: float) -> Used:
    return Used({"kv_token_time": amount}, {application: {"calls": calls, "kv_token_time": amount}})


async def total(sums: UsageSums, tenant: str) -> float:
    return (await sums.read(tenant)).total.get("kv_token_time", 0.0)


async def test_adds_up_what_several_gateways_tell(sums: UsageSums) -> None:
    first = Used({"calls.completed": 1, "kv_token_time": 0.1}, {"a": {"calls": 1, "kv_token_time": 0.1}})
    await sums.add("g1", 1, {"t": first, "u": service(1e15 + 0.125)})
    await sums.add("g2", 1, {"t": of("a", 0, 0.2)})
    await sums.add("g2", 2, {"t": of("b – “b”", 1, 0.3)})
    read = await sums.read("t")
    assert read.total == {"calls.completed": 1.0, "kv_token_time": 0.1 + 0.2 + 0.3}
    assert read.today == read.this_hour == read.total
    assert read.applications == {
        "a": {"calls": 1.0, "kv_token_time": 0.1 + 0.2},
        "b – “b”": {"calls": 1.0, "kv_token_time": 0.3},
    }
    assert read.since is not None
    assert await total(sums, "u") == 1e15 + 0.125  # to the last digit


async def test_what_is_told_again_is_not_added_again(sums: UsageSums) -> None:
    for sequence in (5, 5, 4):
        await sums.add("g1", sequence, {"t": of("a", 1, 7.0)})
    await sums.add("g2", 1, {"t": of("a", 1, 1.0)})
    assert (await sums.read("t")).applications == {"a": {"calls": 2.0, "kv_token_time": 8.0}}


async def test_nothing_is_known_of_one_that_never_came(sums: UsageSums) -> None:
    assert await sums.read("t") == UsedOverall(None)
    await sums.add("g1", 1, {})
    assert await sums.read("t") == UsedOverall(None)


async def test_the_least_lately_told_of_make_room(sums: UsageSums) -> None:
    for sequence, tenant in enumerate("abcad", start=1):
        await sums.add("g1", sequence, {tenant: of("x", 1, 1.0)})
    assert [await total(sums, tenant) for tenant in "abcd"] == [2.0, 0.0, 1.0, 1.0]
    assert await sums.read("b") == UsedOverall(None)


async def test_a_tenants_applications_are_bounded_and_its_sums_lose_nothing(sums: UsageSums) -> None:
    await sums.add("g1", 1, {"t": of("first", 1, 1.0)})
    more = {f"a{number:03}": {"calls": 1.0, "kv_token_time": 1.0} for number in range(MAX_APPLICATIONS)}
    await sums.add("g1", 2, {"t": Used({"kv_token_time": float(MAX_APPLICATIONS)}, more)})
    read = await sums.read("t")
    assert len(read.applications) == MAX_APPLICATIONS
    assert "first" not in read.applications or "a000" not in read.applications  # told of in the same moment, perhaps
    assert read.total["kv_token_time"] == MAX_APPLICATIONS + 1


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1.0])
async def test_refuses_what_cannot_be_and_adds_nothing_of_it(sums: UsageSums, amount: float) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        await sums.add("g1", 1, {"t": service(5.0), "u": of("a", 1, amount)})
    await sums.add("g1", 1, {"t": service(1.0)})
    assert await total(sums, "t") == 1.0


async def test_days_and_hours_begin_anew_and_what_is_old_is_forgotten() -> None:
    now = [1000.0 * DAY_S]
    sums = MemoryUsageSums(lambda: now[0])
    await sums.add("g1", 1, {"t": of("a", 1, 1.0)})
    now[0] += HOUR_S
    assert (await sums.read("t")).this_hour == {}
    await sums.add("g1", 2, {"t": of("b", 1, 2.0)})
    read = await sums.read("t")
    assert [span["kv_token_time"] for span in (read.total, read.today, read.this_hour)] == [3.0, 3.0, 2.0]
    now[0] += APPLICATION_TTL_S - 1
    read = await sums.read("t")
    assert (read.total["kv_token_time"], read.today, set(read.applications)) == (3.0, {}, {"b"})
    now[0] += TENANT_TTL_S
    assert await sums.read("t") == UsedOverall(None)
    await sums.add("g1", 3, {"u": service(1.0)})
    assert len(sums) == 1


@pytest.mark.redis
async def test_in_redis_everything_has_a_time_to_live_and_old_spans_are_swept(redis_url: str, prefix: str) -> None:
    sums = RedisUsageSums(redis_url, prefix=prefix, timeout_s=10)
    await sums.add("g1", 1, {"t": of("a", 1, 5.0)})
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        keys = sorted([key async for key in client.scan_iter(f"{prefix}:*")])
        assert keys == [f"{prefix}:{name}" for name in ("told-used:g1", "used", "used-by:t", "used:t")]
        ttls = [await client.ttl(key) for key in keys]
        assert all(0 < ttl <= TENANT_TTL_S for ttl in ttls)
        # As it was yesterday, with a name that has been given up since.
        await client.hincrby(f"{prefix}:used:t", "day", -1)
        await client.hincrby(f"{prefix}:used:t", "hour", -24)
        await client.hset(f"{prefix}:used:t", "day.old", "7")
        yesterday = {"old": f"{1.0} 1 1", "a": f"{2e9} 1 5"}
        await client.hset(f"{prefix}:used-by:t", mapping=yesterday)
        read = await sums.read("t")
        assert (read.total, read.today, read.this_hour) == ({"kv_token_time": 5.0}, {}, {})
        assert set(read.applications) == {"a"}
        await sums.add("g1", 2, {"t": service(2.0)})
        read = await sums.read("t")
        assert (read.total, read.today, read.this_hour) == (
            {"kv_token_time": 7.0},
            {"kv_token_time": 2.0},
            {"kv_token_time": 2.0},
        )
        assert not await client.hexists(f"{prefix}:used:t", "day.old")
    await sums.aclose()


@pytest.mark.redis
async def test_in_redis_those_who_make_room_leave_nothing(redis_url: str, prefix: str) -> None:
    sums = RedisUsageSums(redis_url, prefix=prefix, timeout_s=10, max_tenants=2)
    await sums.add("g1", 1, {f"t{number}": of("a", 1, 1.0) for number in range(50)})
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        assert len([key async for key in client.scan_iter(f"{prefix}:used*")]) == 1 + 2 * 2
    await sums.aclose()


@pytest.mark.redis
async def test_a_cluster_takes_it_and_a_redis_that_hangs_is_away(redis_cluster: RedisServer) -> None:
    sums = RedisUsageSums(redis_cluster.url, timeout_s=0.3)
    await sums.add("g1", 1, {f"t{number}": of("a", 1, 1.0) for number in range(128)})
    redis_cluster.hang()
    with pytest.raises(StoreUnavailable):
        await sums.add("g1", 2, {"t0": service(1.0)})
    with pytest.raises(StoreUnavailable):
        await sums.read("t0")
    redis_cluster.resume()
    await sums.add("g1", 2, {"t0": service(1.0)})
    assert await total(sums, "t0") == 2.0
    await sums.aclose()
