"""What Redis keeps of tenants that have shares: gone in time, lost without harm, and of no use to another order."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.fairness import SharesName
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.ports import Arrival, StateStore
from gateway.stores.redis import RedisStore
from tests.stores.charging import charge_one

pytestmark = pytest.mark.redis

NAMES = {ApplicationId(name): tenant for name, tenant in zip("abcdef", "xxxyyz", strict=True)}
A, B, C, D, E, F = NAMES
NOW = 1_700_000_000.0
FIXED_KEYS = ("clock", "backlogged", "weights", "open", "last_seen", "kinds", "owners")
TENANT_KEYS = ("tenant", "tenant-backlogged", "tenant-weights", "tenant-open", "tenant-left")


@pytest.fixture
def shares() -> SharesName:
    return "tenant"


@pytest.fixture
async def client(redis_server: Any) -> AsyncIterator[Any]:
    """To look at the keys from outside."""
    async with Redis.from_url(redis_server.url, decode_responses=True, protocol=2) as redis:
        yield redis


@pytest.fixture
async def store(redis_server: Any) -> AsyncIterator[RedisStore]:
    """Alone on a server of its own."""
    store = RedisStore(redis_server.url, timeout_s=10, application_ttl_s=100, clock_ttl_s=1000, shares="tenant")
    yield store
    await store.aclose()


@pytest.fixture
async def by_application(redis_server: Any) -> AsyncIterator[RedisStore]:
    """On the same server, with the same keys, and with a share for each application."""
    store = RedisStore(redis_server.url, timeout_s=10)
    yield store
    await store.aclose()


async def arrive(store: StateStore, name: ApplicationId, total: float = 100.0, weight: int = UNIT_WEIGHT) -> float:
    arrival = Arrival(name, NAMES[name], "agent", KvTokenTime(total), UNIT_WEIGHT, tenant_weight=Weight(weight))
    return (await store.arrive(arrival, NOW)).application.virtual_finish_time


async def close_all(store: StateStore) -> None:
    """And let everybody depart, with whatever names nothing any more."""
    for name in NAMES:
        await store.close(name)
    await store.expire(NOW + 1e6, 100)
    await store.restore(VirtualTime(1e12))


async def tenants_keys(client: Any) -> set[str]:
    return {key for key in await client.keys() if key.startswith("{justitia}:tenant")}


async def test_a_tenant_is_forgotten_with_its_last_application(store: RedisStore, client: Any) -> None:
    for name in (A, B, D):
        await arrive(store, name)
    assert await tenants_keys(client) == {f"{{justitia}}:{key}:{tenant}" for key in TENANT_KEYS for tenant in "xy"}
    await store.close(A)
    assert await client.hgetall("{justitia}:owners") == {"b": "x", "d": "y"}
    await store.close(B)
    assert {key[-1] for key in await tenants_keys(client)} == {"y"}
    assert await client.zrange("{justitia}:backlogged", 0, -1) == ["y", "x"]  # x counts until V has reached its end
    await close_all(store)
    assert await client.keys() == ["{justitia}:clock"]
    assert await client.hget("{justitia}:clock", "weight_sum") == "0"


async def test_a_tenants_keys_are_renewed_with_it(store: RedisStore, client: Any) -> None:
    await arrive(store, A)
    await arrive(store, D)
    for key in await client.keys():
        await client.expire(key, 5)
    await charge_one(store, A, KvTokenTime(1), NOW)
    assert min([await client.ttl(f"{{justitia}}:{key}:x") for key in TENANT_KEYS]) > 900
    assert max([await client.ttl(f"{{justitia}}:{key}:y") for key in TENANT_KEYS]) <= 5


@pytest.mark.parametrize("lost", [*FIXED_KEYS, *(f"{key}:x" for key in TENANT_KEYS)])
async def test_a_lost_key_costs_order_and_nothing_else(store: RedisStore, client: Any, lost: str) -> None:
    for name in (A, B, D):
        await arrive(store, name)
    await store.close(D, KvTokenTime(70))
    await charge_one(store, A, KvTokenTime(30), NOW)
    assert await client.delete(f"{{justitia}}:{lost}") == 1
    await store.finish_times(list(NAMES))
    await store.snapshot(10)
    for name in (A, B):
        standing = await store.get(name)
        assert standing is not None
        assert (standing.application.tenant, standing.application.predicted_cost) == ("x", 100)
        assert await store.revise(name, KvTokenTime(100)) is not None
    assert sorted((await store.finish_times(list(NAMES))).values()) == [100, 200]
    assert len((await store.snapshot(10)).applications) == 2
    await close_all(store)
    assert await tenants_keys(client) == set()
    assert await client.hget("{justitia}:clock", "weight_sum") == "0"


async def test_whatever_is_lost_no_operation_fails(store: RedisStore, client: Any) -> None:
    chance = random.Random(1)
    for step in range(400):
        name, amount = chance.choice(list(NAMES)), KvTokenTime(chance.uniform(0, 100))
        match chance.randrange(9):
            case 0 | 1 | 2:
                await arrive(store, name, amount, chance.choice([1000, 3000]))
            case 3:
                await charge_one(store, name, amount, NOW + step)
            case 4:
                await store.revise(name, amount)
            case 5:
                await store.close(name, chance.choice([None, amount]))
            case 6:
                await store.serve(KvTokenTime(10 * amount))
            case 7:
                await store.expire(NOW + step, 1)
            case _:
                await client.delete(*chance.sample(sorted(await client.keys()), 1))
        found = await store.finish_times(list(NAMES))
        listed = {record.application_id for record in (await store.snapshot(10)).applications}
        assert listed <= set(found)
    await close_all(store)
    assert await client.hget("{justitia}:clock", "weight_sum") == "0"


async def test_one_whose_record_timed_out_leaves_its_tenant(store: RedisStore, client: Any) -> None:
    await arrive(store, A, 50)
    await arrive(store, B, 60)
    await client.delete("{justitia}:application:a")
    assert await store.get(A) is None
    assert await store.finish_times([A, B]) == {A: 50, B: 110}
    assert await store.expire(NOW - 1, 10) == ()
    assert await store.finish_times([A, B]) == {A: 50, B: 110}  # it was seen not long ago
    assert [s.application.application_id for s in await store.expire(NOW + 1, 1)] == []
    assert await store.finish_times([A, B]) == {B: 110}


async def test_one_whose_record_timed_out_comes_back_as_a_new_one(store: RedisStore, client: Any) -> None:
    await arrive(store, A, 50)
    await arrive(store, B, 60)
    await client.delete("{justitia}:application:a")
    await arrive(store, A, 5)
    assert await store.finish_times([A, B]) == {A: 55, B: 115}  # its old one counts as done
    await client.delete("{justitia}:application:a", "{justitia}:application:b")
    await arrive(store, A, 5)
    await store.close(A)
    await store.expire(NOW + 1, 10)
    assert await tenants_keys(client) == set()


async def test_under_other_shares_order_starts_afresh_where_virtual_time_is(
    store: RedisStore, by_application: RedisStore, client: Any
) -> None:
    for name in (A, B, D):
        await arrive(by_application, name)
    await by_application.close(D)
    assert await by_application.serve(KvTokenTime(90)) == 30

    assert await store.finish_times([A, B]) == {}
    assert (await store.snapshot(10)).backlogged == ()
    assert await arrive(store, E, 10) == 40
    standing = await charge_one(store, A, KvTokenTime(7), NOW)
    assert standing is not None
    assert (standing.application.virtual_start, standing.application.virtual_finish_time) == (30, 130)
    await store.get(B)
    assert await store.finish_times([A, B, E]) == {A: 130, B: 230, E: 40}
    assert await store.serve(KvTokenTime(10)) == 35

    assert await by_application.serve(KvTokenTime(10)) == 35
    assert (await by_application.snapshot(10)).backlogged == ()
    again = await by_application.revise(E, KvTokenTime(20))
    assert again is not None
    assert again.application.virtual_finish_time == 55
    assert await arrive(store, B) == 135  # what was kept of its tenant is not looked at

    await close_all(store)
    assert await client.hget("{justitia}:clock", "weight_sum") == "0"


async def test_a_record_without_its_tenants_weight_counts_one_unit(
    store: RedisStore, by_application: RedisStore, client: Any
) -> None:
    """As gateways wrote it that knew no shares of tenants."""
    await arrive(by_application, A, weight=7000)
    await client.hdel("{justitia}:application:a", "tenant_weight")
    await client.hdel("{justitia}:clock", "shares")
    standing = await store.get(A)
    assert standing is not None
    assert standing.application.virtual_finish_time == 100


async def test_wipe_leaves_nothing_of_tenants(store: RedisStore, client: Any) -> None:
    for name in NAMES:
        await arrive(store, name)
    await store.close(D)
    await store.wipe()
    assert await client.keys() == []
