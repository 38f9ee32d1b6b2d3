"""What every store of links must do, and then what one in Redis must do besides."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.identity import LinkKey
from gateway.settings import Settings, StoreSettings
from gateway.storage import storage_of
from gateway.stores.memory_links import MemoryLinks
from gateway.stores.redis_links import RedisLinks
from tests.conftest import RedisServer

LinkStore = MemoryLinks | RedisLinks
A, B, C = (LinkKey(bytes([number]) * 16) for number in range(3))


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prefix() -> str:
    return f"{{test:{secrets.token_hex(8)}}}"


@pytest.fixture
async def new_links(redis_url: str, prefix: str, clock: Clock) -> AsyncIterator[Callable[..., RedisLinks]]:
    """Another gateway's, on the same Redis."""
    made: list[RedisLinks] = []

    def new(**options: Any) -> RedisLinks:
        made.append(RedisLinks(redis_url, prefix=prefix, **{"timeout_s": 10, "clock": clock, **options}))
        return made[-1]

    yield new
    for links in made:
        await links.aclose()
    async with Redis.from_url(redis_url) as client:
        async for key in client.scan_iter(f"{prefix}:*"):
            await client.delete(key)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def links(request: pytest.FixtureRequest) -> LinkStore:
    if request.param == "memory":
        return MemoryLinks()
    new: Callable[..., RedisLinks] = request.getfixturevalue("new_links")
    return new()


# --- every store ----------------------------------------------------------------------------------------------------


async def test_what_is_noted_is_found_by_its_tenant(links: LinkStore) -> None:
    assert await links.find("acme", [A]) == {}
    await links.note("acme", {A: "run-1", B: "run-2"})
    assert await links.find("acme", [A]) == {A: "run-1"}
    assert await links.find("acme", [C, B]) == {B: "run-2"}
    assert await links.find("acme", [C]) == await links.find("acme", []) == {}


async def test_the_later_name_stands(links: LinkStore) -> None:
    await links.note("acme", {A: "run-1"})
    await links.note("acme", {A: "run-2"})
    await links.note("acme", {})
    assert await links.find("acme", [A]) == {A: "run-2"}
    await links.aclose()


async def test_memory_holds_no_more_than_it_may() -> None:
    links = MemoryLinks(max_links=1)
    await links.note("acme", {A: "run-1", B: "run-2"})
    assert await links.find("acme", [A, B]) == {B: "run-2"}


# --- Redis ----------------------------------------------------------------------------------------------------------

redis = pytest.mark.redis


@redis
async def test_gateways_share_their_links(new_links: Callable[..., RedisLinks]) -> None:
    ours, theirs = new_links(), new_links()
    await ours.note("acme", {A: "run-1", B: "run-2"})
    assert await theirs.find("acme", [C, B, A]) == {B: "run-2", A: "run-1"}
    await theirs.note("acme", {A: "run-3"})
    assert await new_links().find("acme", [A]) == {A: "run-3"}


@redis
async def test_keys_lie_under_one_hash_tag_and_end(
    new_links: Callable[..., RedisLinks], redis_url: str, prefix: str
) -> None:
    await new_links(ttl_s=77).note("acme", {A: "run-1", B: "run-2"})
    async with Redis.from_url(redis_url) as client:
        keys = sorted([key async for key in client.scan_iter(f"{prefix}:*")])
        assert keys == [f"{prefix}:link:{key.hex()}".encode() for key in (A, B)]
        for key in keys:
            assert 70 < await client.ttl(key) <= 77


@redis
async def test_how_long_and_how_many_is_set(redis_url: str, prefix: str) -> None:
    settings = StoreSettings(
        redis_url=redis_url, prefix=prefix.strip("{}").replace(":", "-"), link_ttl_s=60, max_links=100
    )
    links = storage_of(Settings(store=settings)).links()
    try:
        await links.note("acme", {A: "run-1"})
        async with Redis.from_url(redis_url) as client:
            [key] = [key async for key in client.scan_iter(match=f"{{{settings.prefix}}}:link:*")]
            assert 50 < await client.ttl(key) <= 60
            await client.delete(key)
        assert await links.find("acme", [A]) == {A: "run-1"}
        await links.note("acme", {LinkKey(bytes([number]) * 16): "run-2" for number in range(100, 200)})
        assert await links.find("acme", [A]) == {}
    finally:
        await links.aclose()


@redis
async def test_they_can_lie_in_a_cluster(redis_cluster: RedisServer) -> None:
    links = RedisLinks(redis_cluster.url, prefix="{test}", timeout_s=10)
    await links.note("acme", {A: "run-1", B: "run-2"})
    await links.aclose()
    other = RedisLinks(redis_cluster.url, prefix="{test}", timeout_s=10)
    assert await other.find("acme", [A, B]) == {A: "run-1", B: "run-2"}
    await other.aclose()


async def commands(url: str) -> int:
    """How many GETs and SETs Redis has carried out."""
    async with Redis.from_url(url) as client:
        stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("mget", "set"))


@redis
async def test_what_is_known_here_spares_redis(
    new_links: Callable[..., RedisLinks], redis_url: str, clock: Clock
) -> None:
    ours, theirs = new_links(), new_links()
    await ours.note("acme", {A: "run-1"})
    before = await commands(redis_url)
    await ours.find("acme", [B, A])
    await ours.note("acme", {A: "run-1"})
    assert await commands(redis_url) == before
    await theirs.find("acme", [A])
    await theirs.find("acme", [A])
    await theirs.note("acme", {A: "run-1"})
    assert await commands(redis_url) == before + 1
    clock.time += 31
    await theirs.note("acme", {A: "run-1"})  # it lives on there
    assert await commands(redis_url) == before + 2


@redis
async def test_what_redis_does_not_know_is_not_asked_for_at_once_again(
    new_links: Callable[..., RedisLinks], redis_url: str, clock: Clock
) -> None:
    ours, theirs = new_links(quiet_s=30), new_links()
    assert await ours.find("acme", [A]) == {}
    before = await commands(redis_url)
    assert await ours.find("acme", [A]) == {}
    assert await commands(redis_url) == before
    await theirs.note("acme", {A: "run-1"})
    clock.time += 31
    assert await ours.find("acme", [A]) == {A: "run-1"}
    await ours.find("acme", [B])
    await ours.note("acme", {B: "run-2"})  # asked for a moment ago, but new
    assert await new_links().find("acme", [B]) == {B: "run-2"}


@redis
async def test_any_value_in_redis_becomes_a_name(
    new_links: Callable[..., RedisLinks], redis_url: str, prefix: str
) -> None:
    async with Redis.from_url(redis_url) as client:
        for key, value in ((A, b"run-1"), (B, b"a/b\n"), (C, b"\xff" * 1000)):
            await client.set(f"{prefix}:link:{key.hex()}", value)
    found = await new_links().find("acme", [A, B, C])
    assert found[A] == "run-1"
    assert found[B].startswith("x-")
    assert found[C].startswith("x-")


@redis
async def test_without_redis_links_are_known_here_and_no_call_waits_again(
    redis_server: RedisServer, clock: Clock
) -> None:
    links = RedisLinks(redis_server.url, prefix="{test}", timeout_s=0.2, pause_s=5, clock=clock)
    await links.note("acme", {A: "run-1"})
    redis_server.hang()
    await links.note("acme", {B: "run-2"})  # waits once
    async with asyncio.timeout(0.15):
        for _ in range(20):
            await links.note("acme", {C: "run-3"})
            assert await links.find("acme", [LinkKey(b"x" * 16)]) == {}
            assert await links.find("acme", [B]) == {B: "run-2"}
    redis_server.kill()
    clock.time += 6
    assert await links.find("acme", [LinkKey(b"x" * 16)]) == {}
    await links.note("acme", {A: "run-4"})
    redis_server.start()
    clock.time += 6
    await links.note("acme", {A: "run-5"})
    await links.aclose()
    other = RedisLinks(redis_server.url, prefix="{test}", timeout_s=10)
    assert await other.find("acme", [A]) == {A: "run-5"}
    await other.aclose()


@redis
async def test_what_was_asked_is_remembered_within_a_limit(
    new_links: Callable[..., RedisLinks], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.stores.redis_links._MAX_ASKED", 2)
    links = new_links()
    for key in (A, B, C):
        await links.find("acme", [key])
    before = await commands(redis_url)
    for key in (C, B):
        await links.find("acme", [key])
    assert await commands(redis_url) == before
    await links.find("acme", [A])
    assert await commands(redis_url) == before + 1


@redis
async def test_what_was_asked_is_forgotten_when_it_may_be_asked_again(
    new_links: Callable[..., RedisLinks], clock: Clock
) -> None:
    links = new_links(quiet_s=30)
    await links.find("acme", [A])
    clock.time += 29
    await links.find("acme", [B])
    assert set(links._asked_at) == {A, B}
    clock.time += 1
    await links.find("acme", [C])
    assert set(links._asked_at) == {B, C}


def test_bad_settings_are_refused_at_once() -> None:
    wrong = (("prefix", "bare"), ("ttl_s", 0), ("max_links", 0), ("quiet_s", -1), ("pause_s", -1))
    for options in [{name: value} for name, value in wrong]:
        with pytest.raises(ValueError, match=r"prefix|times to live|max_links|quiet_s and pause_s"):
            RedisLinks("redis://localhost", **{"prefix": "{test}", "timeout_s": 1, **options})  # type: ignore[arg-type]
