"""What every artifact shelf must do, and then what a folder and what a Redis must do besides."""

# ruff: noqa: ASYNC220, ASYNC240 - nobody else waits for a test's own event loop

import asyncio
import hashlib
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
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.ports import ArtifactShelf, ShelfMark
from gateway.stores import local_files
from gateway.stores.folder_shelf import FolderShelf
from gateway.stores.redis_shelf import RedisShelf
from gateway.stores.shelf import MAX_BLOB_BYTES, MAX_KEPT, MAX_ROLLED_BACK


def blob(number: int) -> bytes:
    return b"\0\xff\r\n" + f"artifact {number}".encode()


def version(number: int) -> str:
    return hashlib.sha256(blob(number)).hexdigest()[:16]


@dataclass(frozen=True)
class Place:
    """Where shelves are, and how to tamper with what is there."""

    shelf: Callable[[], ArtifactShelf]
    write: Callable[[str, bytes], Awaitable[object]]
    """What the mark (name "") or the artifact of a version holds from now on."""
    versions: Callable[[], Awaitable[set[str]]]
    """Whose artifacts are there."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "at need"


@pytest.fixture(params=["folder", pytest.param("redis", marks=pytest.mark.redis)])
async def place(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Place]:
    if request.param == "folder":

        async def write(name: str, content: bytes) -> None:
            (folder / (f"{name}.safetensors" if name else "in_use.json")).write_bytes(content)

        async def versions() -> set[str]:
            return {path.stem for path in folder.glob("*.safetensors")}

        yield Place(lambda: FolderShelf(folder), write, versions)
        return

    key = f"{{test:{secrets.token_hex(8)}}}"
    url = request.getfixturevalue("redis_url")
    made: list[RedisShelf] = []

    def shelf() -> RedisShelf:
        made.append(RedisShelf(url, prefix=key, timeout_s=10))
        return made[-1]

    async with Redis.from_url(url) as client:

        async def put(name: str, content: bytes) -> None:
            await client.set(f"{key}:predictor:{name}" if name else f"{key}:predictor", content)

        async def stored() -> set[str]:
            return {name.decode().rpartition(":")[2] for name in await client.keys(f"{key}:predictor:*")}

        yield Place(shelf, put, stored)
        for each in made:
            await each.aclose()
        for name in await client.keys(f"{key}*"):
            await client.delete(name)


@pytest.fixture
def shelf(place: Place) -> ArtifactShelf:
    return place.shelf()


# --- every shelf ----------------------------------------------------------------------------------------------------


async def test_an_empty_one_has_no_mark(shelf: ArtifactShelf) -> None:
    assert await shelf.mark() is None
    assert await shelf.fetch(version(1)) is None
    assert await shelf.roll_back(version(1)) is None
    assert await shelf.roll_back("") is None
    assert await shelf.mark() is None


async def test_what_is_published_is_in_use_wherever_one_looks(place: Place) -> None:
    mark = await place.shelf().publish(blob(1))
    assert mark == ShelfMark(version(1), None)
    assert await place.shelf().mark() == mark
    assert await place.shelf().fetch(version(1)) == blob(1)


async def test_what_was_in_use_becomes_the_previous_one(shelf: ArtifactShelf) -> None:
    await shelf.publish(blob(1))
    assert await shelf.publish(blob(2)) == await shelf.mark() == ShelfMark(version(2), version(1))
    assert await shelf.publish(blob(3)) == await shelf.mark() == ShelfMark(version(3), version(2))
    assert await shelf.publish(blob(1)) == await shelf.mark() == ShelfMark(version(1), version(3))
    assert [await shelf.fetch(version(number)) for number in (1, 2, 3)] == [blob(1), blob(2), blob(3)]


async def test_publishing_what_is_in_use_changes_nothing(shelf: ArtifactShelf) -> None:
    await shelf.publish(blob(1))
    await shelf.publish(blob(2))
    assert await shelf.publish(blob(2)) == await shelf.mark() == ShelfMark(version(2), version(1))


async def test_a_roll_back_goes_to_the_previous_one_and_then_to_the_mean(shelf: ArtifactShelf) -> None:
    await shelf.publish(blob(1))
    await shelf.publish(blob(2))
    once = ShelfMark(version(1), None, (version(2),))
    assert await shelf.roll_back(version(2)) == await shelf.mark() == once
    assert await shelf.roll_back(version(2)) == await shelf.mark() == once
    assert await shelf.roll_back(version(3)) == await shelf.mark() == once
    twice = ShelfMark("", None, (version(2), version(1)))
    assert await shelf.roll_back(version(1)) == await shelf.mark() == twice
    assert await shelf.roll_back("") == await shelf.mark() == twice
    assert await shelf.publish(blob(3)) == ShelfMark(version(3), None, (version(2), version(1)))


async def test_what_was_rolled_back_is_not_published_again(place: Place, shelf: ArtifactShelf) -> None:
    await shelf.publish(blob(1))
    await shelf.publish(blob(2))
    mark = await shelf.roll_back(version(2))
    assert await shelf.publish(blob(2)) == await place.shelf().mark() == mark
    await shelf.roll_back(version(1))
    assert (await shelf.publish(blob(1))).version == ""


async def test_only_the_latest_that_were_rolled_back_are_remembered(shelf: ArtifactShelf) -> None:
    for number in range(MAX_ROLLED_BACK + 2):
        await shelf.publish(blob(number))
        await shelf.roll_back(version(number))
    remembered = tuple(version(number) for number in range(2, MAX_ROLLED_BACK + 2))
    assert await shelf.mark() == ShelfMark("", None, remembered)
    assert (await shelf.publish(blob(2))).version == ""
    assert (await shelf.publish(blob(1))).version == version(1)


async def test_old_ones_are_removed(place: Place, shelf: ArtifactShelf) -> None:
    for number in range(10):
        await shelf.publish(blob(number))
        assert await place.versions() == {version(kept) for kept in range(max(0, number - MAX_KEPT + 1), number + 1)}


async def test_neither_what_is_in_use_nor_the_previous_one_is_removed(place: Place, shelf: ArtifactShelf) -> None:
    await shelf.publish(blob(0))
    for number in range(1, 10):
        await shelf.publish(blob(number))
        await shelf.roll_back(version(number))
        assert await shelf.fetch(version(0)) == blob(0)
    await shelf.publish(blob(99))
    assert await place.versions() == {version(number) for number in (0, 8, 9, 99)}


async def test_of_several_roll_backs_at_once_one_changes_it(place: Place) -> None:
    shelves = [place.shelf() for _ in range(8)]
    await shelves[0].publish(blob(1))
    await shelves[0].publish(blob(2))
    await shelves[0].publish(blob(3))
    marks = await asyncio.gather(*(shelf.roll_back(version(3)) for shelf in shelves))
    assert marks == [ShelfMark(version(2), None, (version(3),))] * 8


async def test_publications_and_roll_backs_at_once_come_one_after_another(place: Place) -> None:
    """Whatever their order: each new one's previous is what was in use, and what was rolled back is so for good."""
    shelves = [place.shelf() for _ in range(4)]
    published = asyncio.gather(*(shelves[number % 4].publish(blob(number)) for number in range(12)))
    rolled_back = asyncio.gather(*(shelves[number % 4].roll_back(version(number)) for number in range(12)))
    marks = [*await published, *[mark for mark in await rolled_back if mark]]
    last = await place.shelf().mark()
    assert last in marks
    assert {mark.previous for mark in marks} - {None} <= {mark.version for mark in marks}
    for number in range(12, 16):
        await shelves[0].publish(blob(number))
    assert await place.versions() == {version(number) for number in range(12, 16)}


async def test_a_damaged_mark_is_none_and_publishing_begins_anew(place: Place, shelf: ArtifactShelf) -> None:
    for rubbish in (b"", b"\xff\xfe", b"[]", b"{" * 3000, b'{"format":1}', b"\0" * 10_000):
        await shelf.publish(blob(1))
        await place.write("", rubbish)
        assert await shelf.mark() is None
        assert await shelf.roll_back(version(1)) is None
        assert await shelf.publish(blob(2)) == await shelf.mark() == ShelfMark(version(2), None)


async def test_a_damaged_artifact_is_not_there_until_it_is_published_again(place: Place, shelf: ArtifactShelf) -> None:
    await shelf.publish(blob(1))
    mark = await shelf.publish(blob(2))
    for rubbish in (b"", blob(2)[:-1], blob(2) + b"x", blob(1), b"x" * 100_000):
        await place.write(version(2), rubbish)
        assert await shelf.fetch(version(2)) is None
        assert await shelf.fetch(version(1)) == blob(1)
        assert await shelf.mark() == mark
        assert await shelf.publish(blob(2)) == mark
        assert await shelf.fetch(version(2)) == blob(2)


@pytest.mark.parametrize("bad", ["", "x", "../in_use", "..", "0" * 15, "0" * 17, "G" * 16, "\ud800", "a\0b"])
async def test_what_is_no_version_is_not_there(shelf: ArtifactShelf, bad: str) -> None:
    mark = await shelf.publish(blob(1))
    assert await shelf.fetch(bad) is None
    assert await shelf.roll_back(bad) == mark


async def test_one_that_is_empty_or_too_large_is_refused_and_changes_nothing(
    place: Place, shelf: ArtifactShelf
) -> None:
    mark = await shelf.publish(blob(1))
    for bad in (b"", bytes(MAX_BLOB_BYTES + 1)):
        with pytest.raises(ValueError, match="an artifact must have"):
            await shelf.publish(bad)
    assert await shelf.mark() == mark
    assert await place.versions() == {version(1)}


async def test_the_largest_is_published_and_fetched(shelf: ArtifactShelf) -> None:
    largest = os.urandom(2**20) * (MAX_BLOB_BYTES // 2**20)
    mark = await shelf.publish(largest)
    assert await shelf.fetch(mark.version) == largest


# --- a folder -------------------------------------------------------------------------------------------------------


async def test_a_folder_is_for_its_owner_alone(folder: Path) -> None:
    shelf = FolderShelf(folder)
    await shelf.mark()
    assert not folder.exists()
    await shelf.publish(blob(1))
    assert {path.name for path in folder.iterdir()} == {"in_use.json", "lock", f"{version(1)}.safetensors"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


async def test_what_others_put_into_a_folder_stays_and_what_a_crash_left_goes(folder: Path) -> None:
    shelf = FolderShelf(folder)
    await shelf.publish(blob(1))
    for name in ("mine.safetensors", "README", f"{version(5)}.safetensors", f"{version(1)}.safetensors.new"):
        (folder / name).write_bytes(b"x")
    await shelf.publish(blob(2))
    assert {path.name for path in folder.iterdir()} == {
        "mine.safetensors", "README", "in_use.json", "lock",
        f"{version(1)}.safetensors", f"{version(2)}.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("crash_at", [0, 1, 2, 3])
async def test_a_publication_cut_short_anywhere_leaves_a_shelf_that_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    """At an fsync, of which there are four: of the artifact, of its name, of the mark, of its name."""
    shelf = FolderShelf(folder)
    await shelf.publish(blob(1))
    left = crash_at
    fsync = os.fsync

    def crash(descriptor: int) -> None:
        nonlocal left
        if left == 0:
            raise OSError(5, "Input/output error")
        left -= 1
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(StoreUnavailable, match="the artifact folder cannot be used: OSError"):
        await shelf.publish(blob(2))
    monkeypatch.undo()
    mark = await shelf.mark()
    assert mark == (ShelfMark(version(1), None) if crash_at < 3 else ShelfMark(version(2), version(1)))
    assert await shelf.fetch(mark.version) is not None
    assert await shelf.publish(blob(2)) == ShelfMark(version(2), version(1))
    assert not list(folder.glob("*.new"))


async def test_a_folder_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "folder"):
        shelf = FolderShelf(folder)
        asked = (shelf.mark(), shelf.fetch(version(1)), shelf.publish(blob(1)), shelf.roll_back(version(1)))
        for each in asked:
            with pytest.raises(StoreUnavailable, match="the artifact folder cannot be used"):
                await each
    if Path("/proc/self").exists():  # where not even root can write
        with pytest.raises(StoreUnavailable, match="the artifact folder cannot be used"):
            await FolderShelf(Path("/proc")).publish(blob(1))


async def test_a_folder_that_somebody_locks_is_unavailable_to_writers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_LOCK_WAIT_S", 0.1)
    shelf = FolderShelf(folder)
    mark = await shelf.publish(blob(1))
    with local_files.locked(folder / "lock"):
        for asked in (shelf.publish(blob(2)), shelf.roll_back(version(1))):
            with pytest.raises(StoreUnavailable, match="TimeoutError"):
                await asked
        assert await shelf.mark() == mark
        assert await shelf.fetch(version(1)) == blob(1)


_ROLLER = """
import asyncio, sys
from pathlib import Path
from gateway.stores.folder_shelf import FolderShelf

async def roll_back():
    shelf = FolderShelf(Path(sys.argv[1]))
    for version in sys.argv[2:]:
        await shelf.roll_back(version)

asyncio.run(roll_back())
"""


async def test_processes_that_roll_back_together_go_one_step_each_time(folder: Path) -> None:
    """Without a lock two would remember what they rolled back over one another."""
    shelf = FolderShelf(folder)
    await shelf.publish(blob(1))
    await shelf.publish(blob(2))
    command = [sys.executable, "-c", _ROLLER, str(folder), version(2), version(1)]
    assert [process.wait() for process in [subprocess.Popen(command) for _ in range(3)]] == [0, 0, 0]
    assert await shelf.mark() == ShelfMark("", None, (version(2), version(1)))


# --- Redis ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def redis_shelf(redis_server: Any) -> AsyncIterator[RedisShelf]:
    shelf = RedisShelf(redis_server.url, prefix="{justitia}", timeout_s=10, ttl_s=100)
    yield shelf
    await shelf.aclose()


@pytest.mark.redis
async def test_asking_for_the_mark_keeps_alive_what_is_in_use(redis_server: Any, redis_shelf: RedisShelf) -> None:
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        for number in range(3):
            await redis_shelf.publish(blob(number))
        needed = {"{justitia}:predictor", *(f"{{justitia}}:predictor:{version(number)}" for number in (1, 2))}
        old = f"{{justitia}}:predictor:{version(0)}"
        assert set(await client.keys()) == {*needed, old}
        for use in (redis_shelf.mark, lambda: redis_shelf.publish(blob(2))):
            assert all([90 < await client.ttl(key) <= 100 for key in needed])
            for key in {*needed, old}:
                await client.expire(key, 5)
            await use()
            assert all([90 < await client.ttl(key) <= 100 for key in needed])
            assert await client.ttl(old) <= 5
        for key in needed:
            await client.expire(key, 5)
        await redis_shelf.roll_back(version(2))
        for key in needed - {f"{{justitia}}:predictor:{version(2)}"}:
            assert 90 < await client.ttl(key) <= 100


@pytest.mark.redis
async def test_an_artifact_that_redis_evicted_is_not_there_and_can_be_published_again(
    redis_server: Any, redis_shelf: RedisShelf
) -> None:
    mark = await redis_shelf.publish(blob(1))
    async with Redis.from_url(redis_server.url) as client:
        await client.delete(f"{{justitia}}:predictor:{version(1)}")
    assert await redis_shelf.mark() == mark
    assert await redis_shelf.fetch(version(1)) is None
    assert await redis_shelf.publish(blob(1)) == mark
    assert await redis_shelf.fetch(version(1)) == blob(1)


@pytest.mark.redis
async def test_a_change_that_came_between_is_looked_at_again(
    redis_server: Any, redis_shelf: RedisShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the mark and changing it: what was worked out for the old mark is not done to the new one."""
    other = RedisShelf(redis_server.url, prefix="{justitia}", timeout_s=10)
    await redis_shelf.publish(blob(1))
    read, num_reads = redis_shelf._read, 0

    async def read_and_be_overtaken() -> Any:
        nonlocal num_reads
        num_reads += 1
        seen = await read()
        if num_reads == 1:
            await other.publish(blob(2))
        return seen

    monkeypatch.setattr(redis_shelf, "_read", read_and_be_overtaken)
    assert await redis_shelf.roll_back(version(1)) == await other.mark() == ShelfMark(version(2), version(1))
    num_reads = 0
    await other.roll_back(version(2))
    assert await redis_shelf.publish(blob(3)) == await other.mark() == ShelfMark(version(3), version(1), (version(2),))
    await other.aclose()


@pytest.mark.redis
async def test_a_redis_that_is_away_or_hangs_or_refuses_is_unavailable(redis_server: Any) -> None:
    shelf = RedisShelf(redis_server.url, prefix="{justitia}", timeout_s=1)
    mark = await shelf.publish(blob(1))

    def asked() -> tuple[Any, ...]:
        return shelf.mark(), shelf.fetch(version(1)), shelf.publish(blob(2)), shelf.roll_back(version(1))

    redis_server.hang()
    started = time.monotonic()
    answers = await asyncio.gather(*asked(), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"the state store did not answer within 1 s"}
    assert 1 <= time.monotonic() - started < 5
    redis_server.kill()
    for each in asked():
        with pytest.raises(StoreUnavailable, match="ConnectionError"):
            await each
    redis_server.start()
    assert await shelf.mark() is None
    assert await shelf.publish(blob(1)) == mark
    async with Redis.from_url(redis_server.url) as client:
        await client.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable, match=r"OutOfMemoryError|OOM"):
            await shelf.publish(blob(2))
        await client.config_set("maxmemory", "0")
        assert await shelf.mark() == mark
        await client.delete("{justitia}:predictor")
        await client.lpush("{justitia}:predictor", "not a string")
        for each in (shelf.mark(), shelf.publish(blob(2)), shelf.roll_back(version(1))):
            with pytest.raises(StoreUnavailable, match="ResponseError"):
                await each
    await shelf.aclose()


@pytest.mark.redis
async def test_a_cluster_takes_every_operation(redis_cluster: Any) -> None:
    shelf = RedisShelf(redis_cluster.url, prefix="{justitia}", timeout_s=10)
    for number in range(6):
        await shelf.publish(blob(number))
    mark = await shelf.roll_back(version(5))
    assert mark == await shelf.mark() == ShelfMark(version(4), None, (version(5),))
    assert await shelf.fetch(version(4)) == blob(4)
    await shelf.aclose()


def test_impossible_settings_are_refused() -> None:
    for bad, why in (({"prefix": "justitia"}, "hash tag"), ({"ttl_s": 0}, "at least 1 s")):
        with pytest.raises(ValueError, match=why):
            RedisShelf("redis://localhost", **{"prefix": "{justitia}", "timeout_s": 1, **bad})
