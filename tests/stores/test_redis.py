"""What only a store on the other side of a network must do: share, forget in time, fail in time and come back."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.fairness import SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.ports import Arrival
from gateway.stores.redis import RedisStore
from tests.stores.charging import charge_one

pytestmark = pytest.mark.redis

A, B = ApplicationId("a"), ApplicationId("b")
NOW = 1_700_000_000.0
FIXED_KEYS = ("clock", "backlogged", "weights", "open", "last_seen", "kinds")
TENANT_KEYS = ("tenant", "tenant-backlogged", "tenant-weights", "tenant-open", "tenant-left")


def arrival(name: str = "a", cost: float = 100.0) -> Arrival:
    """Each application of a tenant of its own, so that finish times are the same whoever has the shares."""
    return Arrival(ApplicationId(name), name, "agent", KvTokenTime(cost), Weight(1000))


def fixed_keys(shares: SharesName) -> tuple[str, ...]:
    return (*FIXED_KEYS, "owners") if shares == "tenant" else FIXED_KEYS


@pytest.fixture
async def client(redis_server: Any) -> AsyncIterator[Any]:
    """To look at the keys from outside."""
    async with Redis.from_url(redis_server.url, decode_responses=True, protocol=2) as redis:
        yield redis


@pytest.fixture
async def store(redis_server: Any, shares: SharesName) -> AsyncIterator[RedisStore]:
    """Alone on a server of its own."""
    store = RedisStore(redis_server.url, timeout_s=10, application_ttl_s=100, clock_ttl_s=1000, shares=shares)
    yield store
    await store.aclose()


async def use_everything(store: RedisStore) -> None:
    await store.arrive(arrival("a"), NOW)
    await store.arrive(arrival("b"), NOW)
    await store.arrive(arrival("old"), NOW - 50)
    await store.serve(KvTokenTime(1))
    await store.report("engine", 1, KvTokenTime(5))
    await store.report("engine", 1, KvTokenTime(6))
    await store.revise(A, KvTokenTime(120))
    await charge_one(store, A, KvTokenTime(3), NOW)
    await store.touch([A, B], NOW + 1)
    await store.expire(NOW - 1, 10)
    await store.close(B, KvTokenTime(70))
    await store.restore(VirtualTime(2))
    await store.mean_cost("agent")
    await store.get(A)
    await store.finish_times([A, B])
    await store.snapshot(10)


async def test_replicas_share_one_clock(redis_server: Any, store: RedisStore, shares: SharesName) -> None:
    other = RedisStore(redis_server.url, shares=shares)
    await store.arrive(arrival("a", 1000), NOW)
    assert await other.get(A) == await store.get(A)
    for replica in (store, other):
        await replica.report("engine", 7, KvTokenTime(100))
    assert await store.report("engine", 7, KvTokenTime(110)) == 10
    assert await other.report("engine", 7, KvTokenTime(110)) == 10
    assert await other.report("engine", 7, KvTokenTime(105)) == 10
    assert await other.report("engine", 8, KvTokenTime(4)) == 14
    assert await store.report("engine", 7, KvTokenTime(500)) == 14
    await other.aclose()


async def test_concurrent_service_is_counted_once_each(store: RedisStore) -> None:
    await store.arrive(arrival("a", 1e6), NOW)
    readings = await asyncio.gather(*(store.serve(KvTokenTime(1)) for _ in range(300)))
    assert sorted(readings) == list(range(1, 301))


async def test_every_key_lives_under_one_hash_tag_for_a_time(
    store: RedisStore, client: Any, shares: SharesName
) -> None:
    await use_everything(store)
    keys = sorted(await client.keys())
    of_tenant = [f"{name}:a" for name in TENANT_KEYS] if shares == "tenant" else []
    names = [*fixed_keys(shares), *of_tenant, "application:a", "source:engine"]
    assert keys == sorted(f"{{justitia}}:{name}" for name in names)
    for key in keys:
        assert 0 < await client.ttl(key) <= (100 if "application:" in key else 1000), key


async def test_use_renews_the_time_to_live(store: RedisStore, client: Any, shares: SharesName) -> None:
    await use_everything(store)
    for use in (
        lambda: store.touch([A], NOW),
        lambda: charge_one(store, A, KvTokenTime(1), NOW),
        lambda: store.revise(A, KvTokenTime(100)),
        lambda: store.arrive(arrival("a"), NOW),
    ):
        for key in await client.keys():
            await client.expire(key, 5)
        await use()
        assert await client.ttl("{justitia}:application:a") > 90
        assert min([await client.ttl(f"{{justitia}}:{name}") for name in fixed_keys(shares)]) > 900


async def test_nothing_is_left_behind_by_closed_applications(store: RedisStore, client: Any) -> None:
    await use_everything(store)
    await store.close(A)
    await store.restore(VirtualTime(1e6))
    before = {key: await client.memory_usage(key) for key in await client.keys()}
    for number in range(200):
        await store.arrive(arrival(f"{number}", 100.0 + number), NOW)
    for number in range(0, 200, 2):
        await store.close(ApplicationId(f"{number}"), KvTokenTime(5e6))
    await store.expire(NOW + 1, 1000)
    await store.restore(VirtualTime(1e8))
    assert set(await client.keys()) == set(before)
    assert (await store.snapshot(10)).backlogged == ()
    assert await client.hget("{justitia}:clock", "weight_sum") == "0"


@pytest.mark.parametrize(
    ("shares", "lost"),
    [
        *(("application", name) for name in (*FIXED_KEYS, "application:a", "source:engine")),
        *(("tenant", name) for name in (*FIXED_KEYS, "owners", "application:a", "source:engine")),
        *(("tenant", f"{name}:a") for name in TENANT_KEYS),
    ],
)
async def test_a_lost_key_breaks_nothing(store: RedisStore, client: Any, lost: str) -> None:
    await use_everything(store)
    assert await client.delete(f"{{justitia}}:{lost}") == 1
    await use_everything(store)
    standing = await store.arrive(arrival("new", 10), NOW)
    assert standing.application.virtual_finish_time == standing.application.virtual_start + 10
    await store.restore(VirtualTime(1e9))
    weight_sum = await client.hget("{justitia}:clock", "weight_sum")
    assert ((await store.snapshot(10)).backlogged, weight_sum) == ((), "0")


async def test_an_application_that_timed_out_is_unknown_and_swept(store: RedisStore, client: Any) -> None:
    await store.arrive(arrival("a", 100), NOW)
    await client.delete("{justitia}:application:a")
    assert await store.get(A) is None
    assert await store.revise(A, KvTokenTime(5)) is None
    snapshot = await store.snapshot(10)
    assert (snapshot.backlogged, snapshot.applications) == (("a",), ())
    assert await store.expire(NOW + 1, 10) == ()
    assert await client.zcard("{justitia}:open") == await client.zcard("{justitia}:last_seen") == 0
    again = await store.arrive(arrival("a", 30), NOW)
    assert again.application.virtual_finish_time == 130  # its unfinished episode counts still


async def test_one_seen_after_it_was_chosen_stays_open(store: RedisStore, client: Any) -> None:
    await store.arrive(arrival("a"), NOW)
    await store.touch([A], NOW + 10)
    await client.zadd("{justitia}:last_seen", {"a": NOW})  # as another gateway's look at it, a moment ago
    assert await store.expire(NOW + 5, 10) == ()
    assert await store.get(A) is not None


async def test_a_flushed_redis_is_an_empty_store(store: RedisStore, client: Any) -> None:
    await use_everything(store)
    await client.flushall()
    await client.script_flush()
    assert await store.get(A) is None
    assert (await store.snapshot(10)).virtual_time == 0
    await use_everything(store)
    assert await store.restore(VirtualTime(77.0)) == 77


async def test_a_killed_redis_is_unavailable_and_comes_back(store: RedisStore, redis_server: Any) -> None:
    await store.arrive(arrival("a"), NOW)
    redis_server.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="cannot be used: ConnectionError"):
            await store.serve(KvTokenTime(1))
    redis_server.start()
    assert await store.get(A) is None
    await use_everything(store)


async def test_a_killed_redis_fails_what_is_under_way(store: RedisStore, redis_server: Any) -> None:
    await store.arrive(arrival("a", 1e6), NOW)
    redis_server.hang()
    under_way = [asyncio.create_task(store.serve(KvTokenTime(1))) for _ in range(40)]
    await asyncio.sleep(0)
    redis_server.kill()
    answers = await asyncio.gather(*under_way, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    redis_server.start()
    await store.ping()


async def test_a_hanging_redis_is_unavailable_in_time(redis_server: Any) -> None:
    """Those under way and those that wait for a connection alike; each would otherwise wait for ever."""
    store = RedisStore(redis_server.url, timeout_s=0.3, max_connections=4)
    await store.ping()
    redis_server.hang()
    started = time.monotonic()
    answers = await asyncio.gather(*(store.ping() for _ in range(40)), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"the state store did not answer within 0.3 s"}
    assert 0.3 <= time.monotonic() - started < 5
    redis_server.resume()
    await store.aclose()


async def test_a_redis_that_hung_is_used_again(redis_server: Any, store: RedisStore) -> None:
    await store.arrive(arrival("a", 1e6), NOW)
    redis_server.hang()
    under_way = [asyncio.create_task(store.get(A)) for _ in range(40)]
    await asyncio.sleep(0)
    redis_server.resume()
    assert len(set(await asyncio.gather(*under_way))) == 1


async def test_cancelled_operations_never_mix_up_answers(store: RedisStore) -> None:
    for number in range(50):
        await store.arrive(arrival(f"{number}"), NOW)

    async def get(number: int) -> None:
        standing = await store.get(ApplicationId(f"{number}"))
        assert standing is not None
        assert standing.application.application_id == f"{number}"
        assert (await store.report(f"engine {number}", 1, KvTokenTime(0))) == 0

    tasks = [asyncio.create_task(get(number)) for number in range(50)]
    for turn, task in enumerate(tasks[::3]):
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks[1::3], *tasks[2::3])
    await asyncio.gather(*(get(number) for number in range(50)))


async def test_a_redis_that_refuses_is_unavailable(store: RedisStore, client: Any) -> None:
    await store.arrive(arrival("a"), NOW)
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match=r"ReadOnlyError|READONLY"):  # as Redis 6.2 says it
        await store.serve(KvTokenTime(1))
    await client.execute_command("REPLICAOF", "NO", "ONE")
    await client.config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailable, match=r"OutOfMemoryError|OOM"):
        await store.serve(KvTokenTime(1))
    await client.config_set("maxmemory", "0")
    await client.set("{justitia}:clock", "not a hash")
    with pytest.raises(StoreUnavailable, match="ResponseError"):
        await store.serve(KvTokenTime(1))


async def test_a_password_never_shows(redis_server: Any) -> None:
    store = RedisStore(redis_server.url + "?password=secret")
    with pytest.raises(StoreUnavailable) as caught:
        await store.ping()
    assert "secret" not in str(caught.value)
    await store.aclose()


async def test_a_cluster_takes_every_operation(redis_cluster: Any, shares: SharesName) -> None:
    store = RedisStore(redis_cluster.url, shares=shares)
    await use_everything(store)
    await store.wipe()
    await store.aclose()


async def test_wipe_leaves_nothing_but_sources(store: RedisStore, client: Any) -> None:
    await use_everything(store)
    await store.wipe()
    assert await client.keys() == ["{justitia}:source:engine"]


async def test_a_prefix_keeps_stores_apart(redis_server: Any, store: RedisStore) -> None:
    other = RedisStore(redis_server.url, prefix="{other}")
    await store.arrive(arrival("a"), NOW)
    assert await other.get(A) is None
    await other.wipe()
    assert await store.get(A) is not None
    await other.aclose()


@pytest.mark.parametrize("prefix", ["", "justitia", "{}", "justitia}{", "{justitia"])
def test_a_prefix_without_a_hash_tag_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="hash tag"):
        RedisStore("redis://localhost", prefix=prefix)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 s"):
        RedisStore("redis://localhost", clock_ttl_s=0)
    with pytest.raises(ValueError, match="URL"):
        RedisStore("http://localhost")
