"""What every store of keys must do, and then what a file and what a Redis must do besides."""

# ruff: noqa: ASYNC220, ASYNC240 - nobody else waits for a test's own event loop

import asyncio
import json
import os
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.fairness.units import Weight
from gateway.identity.tenants import key_digest
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.stores import key_book, keys_json, local_files
from gateway.stores.file_keys import FileKeys
from gateway.stores.key_book import Change, KeyBook, KeyStore, StoredKey, UnknownKey, UnusableKeys
from gateway.stores.keys_json import book_from_json, book_to_json
from gateway.stores.redis_keys import RedisKeys

TERMS = TenantTerms(Weight(2000), 8, 0, 100_000, 1e9)


def key(number: int, tenant: str = "acme", note: str = "") -> StoredKey:
    return StoredKey(key_digest(f"sk-{number}"), tenant, note, 1_795_291_342 + number)


def adding(*numbers: int) -> Change:
    def change(book: KeyBook) -> KeyBook:
        for number in numbers:
            book = book.with_key(key(number))
        return book

    return change


BOOK = KeyBook({one.digest: one for one in (key(1), key(2, "bolt", "für “nachts”"))}, {"acme": TERMS, "x": NO_LIMITS})


@dataclass(frozen=True)
class Place:
    """Where keys are, and how to tamper with them."""

    store: Callable[[], KeyStore]
    damage: Callable[[bytes], Awaitable[object]]
    """Put this where a key is expected."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "at need" / "keys.json"


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.redis)])
async def place(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Place]:
    if request.param == "file":

        async def damage(content: bytes) -> None:
            path.write_bytes(b'{"format":1,"keys":{"%s":%s},"tenants":{}}' % (key(9).digest.encode(), content))

        yield Place(lambda: FileKeys(path), damage)
        return

    prefix = f"{{test:{secrets.token_hex(8)}}}"
    url = request.getfixturevalue("redis_url")
    made: list[RedisKeys] = []

    def store() -> RedisKeys:
        made.append(RedisKeys(url, prefix=prefix, timeout_s=10))
        return made[-1]

    async with Redis.from_url(url) as client:

        async def tamper(content: bytes) -> None:
            await client.hset(f"{prefix}:keys", key(9).digest, content)
            await client.set(f"{prefix}:keys:revision", secrets.token_hex(4))

        yield Place(store, tamper)
        for each in made:
            await each.aclose()
        await client.delete(f"{prefix}:keys", f"{prefix}:tenants", f"{prefix}:keys:revision")


@pytest.fixture
def store(place: Place) -> KeyStore:
    return place.store()


# --- every store ----------------------------------------------------------------------------------------------------


async def test_where_nobody_made_keys_there_is_no_book(store: KeyStore) -> None:
    assert await store.revision() == ""
    assert await store.read() is None
    assert await store.exposure() is None


async def test_what_is_kept_is_read_wherever_one_looks(place: Place) -> None:
    assert await place.store().change(lambda book: KeyBook(BOOK.keys, BOOK.terms)) == BOOK
    assert await place.store().read() == BOOK


async def test_when_the_last_key_is_revoked_an_empty_book_is_left(place: Place, store: KeyStore) -> None:
    await store.change(adding(1))
    assert await store.change(lambda book: book.without(key(1).key_id)) == KeyBook()
    assert await place.store().read() == KeyBook()
    assert await store.revision() != ""


async def test_every_change_is_another_revision_and_reading_is_none(place: Place, store: KeyStore) -> None:
    revisions = [await store.revision()]
    for change in (
        adding(1),
        lambda book: book.with_terms("acme", TERMS),
        lambda book: book.with_terms("acme", NO_LIMITS),
        lambda book: book.without(key(1).key_id),
        adding(1),
    ):
        await store.change(change)
        await place.store().read()
        revisions.append(await place.store().revision())
        assert await store.revision() == revisions[-1]
    assert len(set(revisions)) == len(revisions)


async def test_a_change_that_is_refused_changes_nothing(store: KeyStore) -> None:
    book = await store.change(adding(1))
    revision = await store.revision()
    with pytest.raises(UnknownKey):
        await store.change(lambda book: book.without("0" * 12))
    with pytest.raises(ValueError, match="another key has this id"):
        await store.change(adding(1))
    assert (await store.read(), await store.revision()) == (book, revision)


async def test_of_changes_at_once_none_is_lost(place: Place) -> None:
    stores = [place.store() for _ in range(4)]
    await asyncio.gather(*(stores[number % 4].change(adding(number)) for number in range(16)))
    await asyncio.gather(
        *(stores[number % 4].change(lambda book, n=number: book.without(key(n).key_id)) for number in range(8)),  # type: ignore[misc]
        *(stores[number % 4].change(adding(number)) for number in range(16, 24)),
    )
    book = await place.store().read()
    assert book is not None
    assert book.keys.keys() == {key(number).digest for number in range(8, 24)}


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[" * 100_000,
        b'{"format":1}',
        b'{"tenant":"a/b","note":"","created_at":1}',
        b'{"tenant":"acme","note":"\\u0007","created_at":1}',
        b'{"tenant":"acme","note":"","created_at":true}',
        b'{"tenant":"acme","note":"","created_at":-1}',
        b'{"tenant":7,"note":"","created_at":1}',
    ],
)
async def test_what_is_damaged_is_neither_read_nor_changed(place: Place, store: KeyStore, entry: bytes) -> None:
    await store.change(adding(1))
    if type(store) is RedisKeys and entry.startswith(b'{"tenant"'):
        entry = b'{"format":1,' + entry[1:]
    await place.damage(entry)
    revision = await store.revision()
    for asked in (store.read(), store.change(adding(2))):
        with pytest.raises(UnusableKeys) as caught:
            await asked
        assert str(caught.value).startswith(f"{store.place} is damaged: ")
        assert len(str(caught.value).splitlines()) == 1
    assert await store.revision() == revision


# --- the rules ------------------------------------------------------------------------------------------------------


def test_there_are_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in ({"digest": "sk-1"}, {"tenant": ""}, {"tenant": "sk-1"}, {"note": "x" * 101}, {"note": "a\nb"}):
        fields: dict[str, Any] = {"digest": key(1).digest, "tenant": "acme", "note": "", "created_at": 0, **bad}
        with pytest.raises(ValueError, match=r"key|tenant|note") as caught:
            StoredKey(**fields)
        assert "sk-1" not in str(caught.value)
    monkeypatch.setattr(key_book, "MAX_KEYS", 2)
    book = adding(1, 2)(KeyBook())
    with pytest.raises(ValueError, match="more than 2 keys"):
        adding(3)(book)
    with pytest.raises(ValueError, match="more than 2 keys or tenants"):
        book.with_terms("a", TERMS).with_terms("b", TERMS).with_terms("c", TERMS)
    with pytest.raises(ValueError, match="not a tenant's name"):
        book.with_terms("a/b", TERMS)


def test_a_key_is_found_by_its_whole_id_alone() -> None:
    assert BOOK.named(key(2).digest[:12]) == key(2, "bolt", "für “nachts”")
    for key_id in ("", key(2).digest[:11], key(2).digest, key(2).key_id.upper(), "sk-2"):
        with pytest.raises(UnknownKey):
            BOOK.named(key_id)


def test_two_keys_never_have_one_id() -> None:
    twin = StoredKey(key(1).digest[:12] + "0" * 52, "bolt", "", 0)
    with pytest.raises(ValueError, match="another key has this id"):
        BOOK.with_key(twin)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.from_regex(r"[a-z]{1,64}", fullmatch=True), st.text(max_size=100))),
    st.lists(st.tuples(st.integers(1, 10**9), st.none() | st.integers(0, 10**6), st.floats(1e-300, 1e15))),
)
def test_a_book_is_read_back_as_it_was_written(keys: list[Any], terms: list[Any]) -> None:
    stored = [key(number, tenant, note) for number, tenant, note in keys if note.isprintable()]
    book = KeyBook(
        {one.digest: one for one in stored},
        {f"t{i}": TenantTerms(Weight(weight), None, wait, 5, cost) for i, (weight, wait, cost) in enumerate(terms)},
    )
    assert book_from_json(book_to_json(book)) == book


def test_another_versions_book_is_refused() -> None:
    good = json.loads(book_to_json(BOOK))
    assert book_from_json(json.dumps(good).encode()) == BOOK
    for bad in (
        {**good, "format": 2},
        {**good, "more": 1},
        {**good, "keys": []},
        {**good, "tenants": {"a/b": good["tenants"]["acme"]}},
        {**good, "tenants": {"acme": {**good["tenants"]["acme"], "weight": 0}}},
        {**good, "tenants": {"acme": {"weight": 1000}}},
        {**good, "keys": {"sk-plain": next(iter(good["keys"].values()))}},
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            book_from_json(json.dumps(bad).encode())
        assert "sk-plain" not in str(caught.value)


# --- a file ---------------------------------------------------------------------------------------------------------


async def test_a_file_is_for_its_owner_alone(path: Path) -> None:
    store = FileKeys(path)
    await store.read()
    assert not path.parent.exists()
    await store.change(adding(1))
    assert {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {
        "keys.json": 0o600,
        "keys.json.lock": 0o600,
    }
    assert await store.exposure() is None
    for mode, done in ((0o640, "read"), (0o604, "read"), (0o622, "written")):
        path.chmod(mode)
        assert await store.exposure() == f"{path} can be {done} by others (chmod 600)"
    await store.change(adding(2))
    assert await store.exposure() is None


async def test_no_key_is_in_the_file(path: Path) -> None:
    await FileKeys(path).change(adding(1))
    assert "sk-1" not in path.read_text()


async def test_an_edit_by_hand_is_another_revision(path: Path) -> None:
    store = FileKeys(path)
    await store.change(adding(1))
    seen = {await store.revision()}
    path.write_text(path.read_text() + "\n")
    seen.add(await store.revision())
    path.chmod(0o644)
    seen.add(await store.revision())
    assert len(seen) == 3


async def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    await FileKeys(path).change(adding(1))
    link = tmp_path / "link"
    link.symlink_to(path)
    await FileKeys(link).change(adding(2))
    assert link.is_symlink()
    assert await FileKeys(path).read() == await FileKeys(link).read() == adding(1, 2)(KeyBook())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes what is another's")
async def test_when_root_changes_the_file_its_owner_stays(path: Path) -> None:
    await FileKeys(path).change(adding(1))
    os.chown(path, 12345, 12346)
    await FileKeys(path).change(adding(2))
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 12346, 0o600)


async def test_a_file_that_cannot_be_one_is_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for path, why in ((tmp_path, "cannot be read"), (tmp_path / "file" / "keys.json", "cannot be read")):
        with pytest.raises(UnusableKeys, match=why):
            await FileKeys(path).read()
    monkeypatch.setattr("gateway.stores.file_keys.MAX_BOOK_BYTES", 3)
    (tmp_path / "file").write_bytes(b"1234")
    with pytest.raises(UnusableKeys, match="more than 3 bytes"):
        await FileKeys(tmp_path / "file").read()


async def test_a_book_too_large_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileKeys(path)
    before = await store.change(adding(1))
    monkeypatch.setattr(keys_json, "MAX_BOOK_BYTES", path.stat().st_size + 10)
    with pytest.raises(ValueError, match="take more than"):
        await store.change(adding(2))
    assert await store.read() == before


async def test_a_change_cut_short_leaves_the_old_book(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileKeys(path)
    before = await store.change(adding(1))

    def crash(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(StoreUnavailable, match=r"keys\.json cannot be used: OSError"):
        await store.change(adding(2))
    monkeypatch.undo()
    assert await store.read() == before
    assert await store.change(adding(2)) == adding(1, 2)(KeyBook())


async def test_a_file_that_somebody_locks_is_unavailable_to_writers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_LOCK_WAIT_S", 0.1)
    store = FileKeys(path)
    before = await store.change(adding(1))
    with local_files.locked(path.with_name("keys.json.lock")):
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await store.change(adding(2))
        assert await store.read() == before


_ADDER = """
import asyncio, sys
from pathlib import Path
from gateway.identity.tenants import key_digest
from gateway.stores.file_keys import FileKeys
from gateway.stores.key_book import StoredKey

async def add():
    for name in sys.argv[2:]:
        await FileKeys(Path(sys.argv[1])).change(lambda book: book.with_key(StoredKey(key_digest(name), "t", "", 0)))

asyncio.run(add())
"""


async def test_processes_that_make_keys_at_once_lose_none(path: Path) -> None:
    names = [[f"{process}-{number}" for number in range(8)] for process in range(3)]
    commands = [[sys.executable, "-c", _ADDER, str(path), *some] for some in names]
    assert [process.wait() for process in [subprocess.Popen(command) for command in commands]] == [0, 0, 0]
    book = await FileKeys(path).read()
    assert book is not None
    assert book.keys.keys() == {key_digest(name) for some in names for name in some}


# --- Redis ----------------------------------------------------------------------------------------------------------


@pytest.mark.redis
async def test_what_is_in_redis(redis_server: Any) -> None:
    store = RedisKeys(redis_server.url, prefix="{justitia}", timeout_s=10)
    await store.change(lambda book: book.with_key(key(1)).with_terms("acme", TERMS))
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        assert set(await client.keys()) == {"{justitia}:keys", "{justitia}:tenants", "{justitia}:keys:revision"}
        assert {await client.ttl(name) for name in await client.keys()} == {-1}
        assert await client.hkeys("{justitia}:keys") == [key(1).digest]
        assert "sk-1" not in str(await client.hgetall("{justitia}:keys"))
        await client.delete("{justitia}:keys:revision")
        assert await store.read() is not None  # what is there is there
        await client.flushall()
    assert (await store.read(), await store.revision()) == (None, "")
    assert store.place == "Redis ({justitia}:keys)"
    await store.aclose()


@pytest.mark.redis
async def test_a_change_that_came_between_is_looked_at_again(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (RedisKeys(redis_server.url, prefix="{justitia}", timeout_s=10) for _ in range(2))
    read, num_reads = one._read, 0

    async def read_and_be_overtaken() -> Any:
        nonlocal num_reads
        num_reads += 1
        seen = await read()
        if num_reads == 1:
            await other.change(adding(1))
        return seen

    monkeypatch.setattr(one, "_read", read_and_be_overtaken)
    assert await one.change(adding(2)) == adding(1, 2)(KeyBook()) == await other.read()
    await one.aclose()
    await other.aclose()


@pytest.mark.redis
async def test_too_many_are_not_even_read(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RedisKeys(redis_server.url, prefix="{justitia}", timeout_s=10)
    await store.change(adding(1, 2, 3))
    monkeypatch.setattr("gateway.stores.redis_keys.MAX_KEYS", 2)
    with pytest.raises(UnusableKeys, match="more than 2 keys"):
        await store.read()
    await store.aclose()


@pytest.mark.redis
async def test_a_redis_that_is_away_or_hangs_or_refuses_is_unavailable(redis_server: Any) -> None:
    store = RedisKeys(redis_server.url, prefix="{justitia}", timeout_s=1)
    before = await store.change(adding(1))

    def asked() -> tuple[Any, ...]:
        return store.revision(), store.read(), store.change(adding(2))

    redis_server.hang()
    started = time.monotonic()
    answers = await asyncio.gather(*asked(), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"the state store did not answer within 1 s"}
    assert 1 <= time.monotonic() - started < 5
    redis_server.resume()
    assert await store.read() == before
    redis_server.kill()
    for each in asked():
        with pytest.raises(StoreUnavailable, match="ConnectionError"):
            await each
    redis_server.start()
    async with Redis.from_url(redis_server.url) as client:
        await client.set("{justitia}:keys", "not a hash")
        for each in (store.read(), store.change(adding(2))):
            with pytest.raises(StoreUnavailable, match="ResponseError"):
                await each
    await store.aclose()


@pytest.mark.redis
async def test_a_cluster_takes_every_operation(redis_cluster: Any) -> None:
    store = RedisKeys(redis_cluster.url, prefix="{justitia}", timeout_s=10)
    await store.change(lambda book: book.with_key(key(1)).with_terms("acme", TERMS))
    await store.change(lambda book: book.without(key(1).key_id))
    assert await store.read() == KeyBook({}, {"acme": TERMS})
    await store.aclose()


def test_a_prefix_without_a_hash_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="hash tag"):
        RedisKeys("redis://localhost", prefix="justitia", timeout_s=1)
