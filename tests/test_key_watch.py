"""What running gateways make of keys that come, go, are damaged or away: on a real file and a real Redis."""

# ruff: noqa: ASYNC240 - nobody else waits for a test's own event loop

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import AuthenticationFailed, StoreUnavailable
from gateway.identity.tenants import key_digest
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.key_watch import KeyWatch
from gateway.stores.file_keys import FileKeys
from gateway.stores.key_book import KeyBook, StoredKey, UnusableKeys
from gateway.stores.redis_keys import RedisKeys
from tests.fakes.virtual_time import run_in_virtual_time
from tests.fakes.waiting import until

TERMS = TenantTerms(max_running_calls=8)


def with_key(book: KeyBook, api_key: str = "sk-1", tenant: str = "alice") -> KeyBook:
    return book.with_key(StoredKey(key_digest(api_key), tenant, "", 0)).with_terms(tenant, TERMS)


def without_key(book: KeyBook) -> KeyBook:
    return book.without(key_digest("sk-1")[:12])


def watching(store: FileKeys | RedisKeys | None, *, is_open: bool = False, **api_keys: str) -> KeyWatch:
    return KeyWatch(store, api_keys, may_be_open=is_open, interval_s=0.01)


def lets_in(watch: KeyWatch, api_key: str | None = "sk-1") -> str | None:
    try:
        return watch.keys.tenant_of(api_key)
    except AuthenticationFailed:
        return None


@pytest.fixture
def file(tmp_path: Path) -> FileKeys:
    return FileKeys(tmp_path / "keys.json")


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[RedisKeys]:
    store = RedisKeys(redis_server.url, prefix="{justitia}", timeout_s=5)
    yield store
    await store.aclose()


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those said since one last asked."""
    said = [f"{one.levelname} {one.getMessage()}" for one in caplog.records if one.name == "gateway.key_watch"]
    caplog.clear()
    return said


# --- who gets in ----------------------------------------------------------------------------------------------------


async def test_keys_that_are_there_at_the_start(file: FileKeys, caplog: pytest.LogCaptureFixture) -> None:
    await file.change(with_key)
    watch = watching(file, is_open=True)
    await watch.start()
    assert [lets_in(watch, api_key) for api_key in ("sk-1", "sk-2", None)] == ["alice", None, None]
    assert (watch.keys.terms_of("alice"), watch.keys.terms_of("bob"), watch.has_stored_keys) == (TERMS, NO_LIMITS, True)
    assert lines(caplog) == [f"INFO 1 API keys of 1 tenants, kept in {file.place}"]


async def test_created_and_revoked_keys_take_effect_at_the_next_look(file: FileKeys) -> None:
    watch = watching(file)
    await watch.start()
    keys = watch.keys
    for change, tenant in ((with_key, "alice"), (without_key, None), (with_key, "alice")):
        await FileKeys(Path(file.place)).change(change)
        await watch.look()
        assert lets_in(watch) == tenant
    await file.change(lambda book: book.with_terms("alice", NO_LIMITS))
    await watch.look()
    assert keys is watch.keys
    assert keys.terms_of("alice") == NO_LIMITS


@pytest.mark.redis
async def test_all_gateways_of_a_redis_follow_without_being_asked(redis: RedisKeys, redis_server: Any) -> None:
    stores = [RedisKeys(redis_server.url, prefix="{justitia}", timeout_s=5) for _ in range(2)]
    watches = [watching(store) for store in stores]
    running = []
    for watch in watches:
        await watch.start()
        running.append(asyncio.create_task(watch.run()))

    async def all_let_in(tenant: str | None) -> bool:
        return all(lets_in(watch) == tenant for watch in watches)

    assert await all_let_in(None)
    await redis.change(with_key)
    await until(lambda: all_let_in("alice"))
    await redis.change(without_key)
    await until(lambda: all_let_in(None))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for watch in watches:
        await watch.aclose()


async def test_an_open_gateway_closes_with_the_first_key_and_never_opens_again(
    file: FileKeys, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watching(file, is_open=True)
    await watch.start()
    assert (lets_in(watch, None), watch.has_stored_keys) == ("anonymous", False)
    assert lines(caplog) == [f"INFO there are no API keys in {file.place}: everybody is let in"]
    await file.change(with_key)
    await watch.look()
    assert (lets_in(watch), lets_in(watch, None), watch.has_stored_keys) == ("alice", None, True)
    lines(caplog)
    Path(file.place).unlink()
    for _ in range(3):
        await watch.look()
        assert (lets_in(watch), lets_in(watch, None)) == ("alice", None)
    assert lines(caplog) == [f"WARNING the API keys of {file.place} are gone: those last read stay in force"]
    await file.change(lambda book: with_key(book, "sk-2", "bob"))
    await watch.look()
    assert (lets_in(watch), lets_in(watch, "sk-2")) == (None, "bob")


async def test_when_the_last_key_is_revoked_nobody_gets_in_at_a_restart_either(
    file: FileKeys, caplog: pytest.LogCaptureFixture
) -> None:
    await file.change(with_key)
    await file.change(without_key)
    watch = watching(file, is_open=True)
    await watch.start()
    assert [lets_in(watch, api_key) for api_key in ("sk-1", None)] == [None, None]
    assert lines(caplog) == [f"INFO there are no API keys in {file.place}: nobody is let in"]


async def test_where_none_may_be_open_no_keys_let_nobody_in(file: FileKeys) -> None:
    watch = watching(file, is_open=False)
    await watch.start()
    assert [lets_in(watch, api_key) for api_key in ("sk-1", None)] == [None, None]


async def test_keys_of_the_settings_count_beside_them_and_first(file: FileKeys) -> None:
    watch = watching(file, is_open=True, **{"sk-1": "settings", "sk-9": "settings"})
    await watch.start()
    assert [lets_in(watch, api_key) for api_key in ("sk-9", "sk-2", None)] == ["settings", None, None]
    await file.change(lambda book: with_key(with_key(book), "sk-2"))
    await watch.look()
    assert [lets_in(watch, f"sk-{number}") for number in (1, 2, 9)] == ["settings", "alice", "settings"]
    await file.change(without_key)
    await watch.look()
    assert lets_in(watch) == "settings"


async def test_terms_may_be_made_for_a_tenant_of_the_settings(file: FileKeys) -> None:
    await file.change(lambda book: book.with_terms("team", TERMS))
    watch = watching(file, **{"sk-9": "team"})
    await watch.start()
    assert (lets_in(watch, "sk-9"), watch.keys.terms_of("team")) == ("team", TERMS)


async def test_without_a_store_the_settings_are_all(caplog: pytest.LogCaptureFixture) -> None:
    for watch, tenants in (
        (watching(None, is_open=True), ["key-" + key_digest("sk-1")[:12], "anonymous"]),
        (watching(None), [None, None]),
        (watching(None, is_open=True, **{"sk-1": "team"}), ["team", None]),
    ):
        await watch.start()
        await watch.look()
        await watch.run()
        assert [lets_in(watch, api_key) for api_key in ("sk-1", None)] == tenants
        assert not watch.has_stored_keys
        await watch.aclose()
    assert lines(caplog) == []


# --- away and damaged -----------------------------------------------------------------------------------------------


@pytest.mark.redis
async def test_while_redis_is_away_the_last_keys_stay_and_it_is_said_once(
    redis: RedisKeys, redis_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.change(with_key)
    watch = watching(redis)
    await watch.start()
    lines(caplog)
    redis_server.kill()
    for _ in range(3):
        await watch.look()
        assert lets_in(watch) == "alice"
    away = "the state store cannot be used: ConnectionError"
    assert lines(caplog) == [f"WARNING API keys cannot be read ({away}): those last read stay in force"]
    redis_server.start()
    await watch.look()
    await watch.look()
    gone = f"the API keys of {redis.place} are gone: those last read stay in force"
    assert lines(caplog) == [f"WARNING {gone}", "INFO API keys can be read again"]
    assert lets_in(watch) == "alice"


@pytest.mark.redis
async def test_a_redis_that_is_away_at_the_start_is_waited_for(
    redis: RedisKeys, redis_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()
    watch = watching(redis, is_open=True, **{"sk-9": "team"})
    for _ in range(2):
        await watch.start()
    assert (lets_in(watch, "sk-9"), lets_in(watch, None), watch.has_stored_keys) == ("team", None, True)
    with pytest.raises(StoreUnavailable):
        watch.keys.tenant_of("sk-1")
    away = "the state store cannot be used: ConnectionError"
    assert lines(caplog) == [f"WARNING API keys cannot be read ({away}): only those of the settings are let in"]
    redis_server.start()
    await redis.change(with_key)
    await watch.look()
    assert (lets_in(watch), lets_in(watch, "sk-2")) == ("alice", None)
    told = f"2 API keys of 2 tenants, kept in {redis.place}"
    assert lines(caplog) == [f"INFO {told}", "INFO API keys can be read again"]


async def test_a_damaged_file_keeps_the_last_keys_until_it_is_mended(
    file: FileKeys, caplog: pytest.LogCaptureFixture
) -> None:
    await file.change(with_key)
    watch = watching(file)
    await watch.start()
    lines(caplog)
    good = Path(file.place).read_text()
    for bad in ("{", "[]"):
        Path(file.place).write_text(bad)
        for _ in range(3):
            await watch.look()
            assert lets_in(watch) == "alice"
    (said,) = lines(caplog)
    assert said.startswith(f"WARNING API keys cannot be read ({file.place} is damaged: ")
    assert said.endswith("): those last read stay in force")
    Path(file.place).write_text(good.replace("alice", "bob"))
    await watch.look()
    assert lets_in(watch) == "bob"
    assert lines(caplog)[-1] == "INFO API keys can be read again"


async def test_what_is_damaged_is_read_once_and_not_at_every_look(
    file: FileKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await file.change(with_key)
    watch = watching(file)
    await watch.start()
    Path(file.place).write_text("{")
    reads = 0
    read = file.read

    async def counted() -> KeyBook | None:
        nonlocal reads
        reads += 1
        return await read()

    monkeypatch.setattr(file, "read", counted)
    for _ in range(5):
        await watch.look()
    assert reads == 1


async def test_a_damaged_file_stops_the_start(file: FileKeys) -> None:
    Path(file.place).write_text("{")
    with pytest.raises(UnusableKeys, match=r"keys\.json is damaged"):
        await watching(file, is_open=True).start()


async def test_a_file_for_others_to_read_is_warned_about(file: FileKeys, caplog: pytest.LogCaptureFixture) -> None:
    await file.change(with_key)
    Path(file.place).chmod(0o644)
    await watching(file).start()
    assert f"WARNING {file.place} can be read by others (chmod 600)" in lines(caplog)


# --- the loop -------------------------------------------------------------------------------------------------------


class _Silent:
    """A store that says when it was asked, and is away."""

    place = "nowhere"

    def __init__(self) -> None:
        self.asked_at: list[float] = []

    async def revision(self) -> str:
        self.asked_at.append(asyncio.get_running_loop().time())
        raise StoreUnavailable("away")

    async def exposure(self) -> str | None:
        return None

    async def aclose(self) -> None: ...


def test_it_looks_once_every_interval_whatever_goes_wrong() -> None:
    store = _Silent()

    async def main() -> None:
        watch = KeyWatch(store, {}, may_be_open=True, interval_s=2.0)  # type: ignore[arg-type]
        await watch.start()
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(7)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_in_virtual_time(main())
    assert store.asked_at == [0.0, 2.0, 4.0, 6.0]


# --- what nobody may see --------------------------------------------------------------------------------------------


@pytest.mark.redis
async def test_no_key_is_in_logs_or_errors_or_what_objects_print(
    redis: RedisKeys, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.change(lambda book: with_key(book, "sk-stored"))
    watch = watching(redis, **{"sk-of-settings": "team"})
    said = [repr(watch.keys), repr(watch)]
    await watch.start()
    for api_key in ("sk-stored", "sk-of-settings", "sk-wrong"):
        try:
            watch.keys.tenant_of(api_key)
        except AuthenticationFailed as error:
            said += [repr(error), str(error.body())]
    said += [repr(watch.keys), caplog.text]
    for one in said:
        assert "sk-" not in one
        assert key_digest("sk-stored")[:12] not in one
