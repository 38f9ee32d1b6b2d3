"""What every history must do, and then what a file and what a Redis stream must do besides."""

# ruff: noqa: ASYNC220, ASYNC240 - nobody else waits for a test's own event loop

import asyncio
import os
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.ports import History
from gateway.stores import local_files
from gateway.stores.closed_json import MAX_BYTES, closed_to_json
from gateway.stores.file_history import FileHistory
from gateway.stores.redis_history import RedisHistory
from tests.stores.closed_applications import CLOSED, closed, numbers

NewHistory = Callable[..., History]
"""Another history on the same place, as another process or the next start has."""
REDIS_BLOCK = 100
"""Entries that Redis drops together, at most."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "at need" / "history.jsonl"


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.redis)])
async def new_history(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[NewHistory]:
    made: list[History] = []
    if request.param == "file":

        def new(**options: Any) -> History:
            made.append(FileHistory(path, **options))
            return made[-1]

        yield new
    else:
        url = request.getfixturevalue("redis_url")
        prefix = f"{{test:{secrets.token_hex(8)}}}"

        def new(**options: Any) -> History:
            made.append(RedisHistory(url, prefix=prefix, timeout_s=10, **options))
            return made[-1]

        yield new
        async with Redis.from_url(url) as client:
            await client.delete(f"{prefix}:closed")
    for history in made:
        await history.aclose()


# --- every history --------------------------------------------------------------------------------------------------


async def test_an_empty_one_holds_nothing(new_history: NewHistory) -> None:
    assert await new_history().read(10) == []


async def test_what_is_appended_is_read_oldest_first(new_history: NewHistory) -> None:
    history = new_history()
    await history.append(CLOSED)
    for number in range(3):
        await history.append(closed(number))
    assert await history.read(10) == [CLOSED, closed(0), closed(1), closed(2)]


async def test_many_are_appended_at_once_or_none_of_them(new_history: NewHistory) -> None:
    history = new_history(max_entries=50)
    await history.append(*(closed(number) for number in range(120)))
    await history.append(closed(120), closed(121))
    with pytest.raises(ValueError, match="cost"):
        await history.append(closed(122), closed(-1))
    assert numbers(await history.read(100)) == list(range(72, 122))


async def test_a_limit_gives_the_latest(new_history: NewHistory) -> None:
    history = new_history()
    for number in range(5):
        await history.append(closed(number))
    for limit in range(7):
        assert numbers(await history.read(limit)) == list(range(5))[5 - min(limit, 5) :]
    with pytest.raises(ValueError, match="limit"):
        await history.read(-1)


async def test_another_on_the_same_place_goes_on(new_history: NewHistory) -> None:
    await new_history().append(closed(0))
    other = new_history()
    await other.append(closed(1))
    assert numbers(await new_history().read(10)) == [0, 1]


async def test_several_at_once_lose_nothing(new_history: NewHistory) -> None:
    histories = [new_history() for _ in range(3)]
    await asyncio.gather(*(histories[number % 3].append(closed(number)) for number in range(90)))
    assert sorted(numbers(await histories[0].read(100))) == list(range(90))


async def test_it_holds_no_more_than_it_may(new_history: NewHistory) -> None:
    history = new_history(max_entries=50)
    for number in range(400):
        await history.append(closed(number))
    assert numbers(await history.read(1000)) == list(range(350, 400))
    assert len(await new_history(max_entries=1000).read(1000)) < 50 + max(50, REDIS_BLOCK)


async def test_one_that_holds_a_single_entry(new_history: NewHistory) -> None:
    history = new_history(max_entries=1)
    for number in range(3):
        await history.append(closed(number))
        assert numbers(await history.read(10)) == [number]
    with pytest.raises(ValueError, match="max_entries"):
        new_history(max_entries=0)


async def test_what_cannot_be_read_back_is_refused_and_changes_nothing(new_history: NewHistory) -> None:
    history = new_history()
    await history.append(closed(0))
    with pytest.raises(ValueError, match="cost"):
        await history.append(closed(-1))
    assert numbers(await history.read(10)) == [0]


# --- a file ---------------------------------------------------------------------------------------------------------


async def test_a_file_is_for_its_owner_alone_also_after_a_rewrite(path: Path) -> None:
    history = FileHistory(path, max_entries=1)
    assert not path.parent.exists()
    for number in range(2):
        await history.append(closed(number))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(os.listdir(path.parent)) == ["history.jsonl", "history.jsonl.lock"]


async def test_a_torn_line_costs_itself_alone(path: Path) -> None:
    history = FileHistory(path)
    await history.append(closed(0))
    await history.append(closed(1))
    os.truncate(path, path.stat().st_size - 20)
    assert numbers(await history.read(10)) == [0]
    await history.append(closed(2))
    assert numbers(await history.read(10)) == [0, 2]


@pytest.mark.parametrize(
    "rubbish",
    [b"\0" * 100_000, b"\n" * 100_000, os.urandom(100_000), b"{}\n" * 10_000, b"[" * 3_000_000, b"x" * MAX_BYTES],
    ids=["zeros", "newlines", "random", "empty objects", "one long line", "as long as may be"],
)
async def test_rubbish_is_passed_over(path: Path, rubbish: bytes) -> None:
    history = FileHistory(path, max_entries=10_000_000)
    await history.append(closed(0))
    with path.open("ab") as file:
        file.write(rubbish)
    assert numbers(await history.read(10)) == [0]
    await history.append(closed(1))
    assert numbers(await history.read(10)) == [0, 1]


async def test_rubbish_counts_against_the_bound(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}\n" * 1000)
    history = FileHistory(path, max_entries=5)
    await history.append(closed(0))
    assert path.read_bytes().count(b"\n") == 5
    assert numbers(await history.read(10)) == [0]


async def test_lines_of_several_blocks_are_put_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.file_history._BLOCK_BYTES", 7)
    history = FileHistory(path, max_entries=4)
    for number in range(30):
        await history.append(closed(number))
        assert numbers(await history.read(4)) == list(range(30))[max(0, number - 3) : number + 1]


async def test_its_bytes_are_bounded_too(path: Path) -> None:
    most = 4 * (MAX_BYTES + 1)
    history = FileHistory(path, max_bytes=most)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 10 * most)
    long = len(closed_to_json(closed(0)))
    for number in range(1200):
        await history.append(closed(number))
        assert path.stat().st_size < most
    held = numbers(await history.read(1200))
    assert held == list(range(1200 - len(held), 1200))
    assert len(held) > most // (2 * (long + 10))
    with pytest.raises(ValueError, match="max_bytes"):
        FileHistory(path, max_bytes=1000)


_WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.stores.file_history import FileHistory
from tests.stores.closed_applications import closed

async def write(first):
    history = FileHistory(Path(sys.argv[1]), max_entries=40)
    for number in range(first, first + 150):
        await history.append(closed(number))

asyncio.run(write(int(sys.argv[2])))
"""


async def test_processes_rewrite_it_under_one_another_and_lose_nothing(path: Path) -> None:
    """Each line is there or was pushed out by forty later ones."""
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(first)]) for first in (0, 1000, 2000)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = await FileHistory(path, max_entries=1000).read(1000)
    held = numbers(lines)
    assert 40 <= len(held) < 80
    for first in (0, 1000, 2000):
        mine = [number for number in held if first <= number < first + 1000]
        assert mine == list(range(first + 150 - len(mine), first + 150))


async def test_a_line_written_while_the_file_is_replaced_is_not_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread stands in the middle of a rewrite while another wants to append."""
    first, second = FileHistory(path, max_entries=2), FileHistory(path, max_entries=2)
    for number in range(3):
        await first.append(closed(number))
    replace = local_files.replace

    def slowly(*arguments: Any) -> None:
        time.sleep(0.2)
        replace(*arguments)

    monkeypatch.setattr("gateway.stores.file_history.replace", slowly)
    rewriting = asyncio.create_task(first.append(closed(3)))
    await asyncio.sleep(0.1)
    await second.append(closed(4))
    await rewriting
    assert numbers(await first.read(10)) == [3, 4]


async def test_a_file_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "history", tmp_path / "file" / "folder" / "history", tmp_path):
        history = FileHistory(path)
        with pytest.raises(StoreUnavailable, match="the history file cannot be used"):
            await history.append(closed(0))
        with pytest.raises(StoreUnavailable, match="the history file cannot be used"):
            await history.read(1)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which not even root can write")
async def test_a_folder_that_nobody_can_write_to_is_unavailable() -> None:
    history = FileHistory(Path("/proc/history.jsonl"))
    assert await history.read(1) == []
    with pytest.raises(StoreUnavailable, match="the history file cannot be used"):
        await history.append(closed(0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
async def test_a_read_only_folder_can_be_read(path: Path) -> None:
    history = FileHistory(path)
    await history.append(closed(0))
    for file in path.parent.iterdir():
        file.chmod(0o400)
    path.parent.chmod(0o500)
    with pytest.raises(StoreUnavailable, match="PermissionError"):
        await history.append(closed(1))
    assert numbers(await history.read(1)) == [0]
    path.parent.chmod(0o700)


async def test_a_full_disk_is_unavailable_and_costs_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = FileHistory(path, max_entries=1)
    await history.append(closed(0))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="OSError"):
        await history.append(closed(1))
    monkeypatch.undo()
    assert numbers(await history.read(1)) == [0]
    await history.append(closed(2))
    assert numbers(await history.read(1)) == [2]


async def test_a_lock_that_nobody_gives_back_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_files, "_LOCK_WAIT_S", 0.1)
    history = FileHistory(path)
    await history.append(closed(0))
    with local_files.locked(path.with_name("history.jsonl.lock")):
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await history.append(closed(1))
        assert numbers(await history.read(1)) == [0]
    await history.append(closed(2))
    assert numbers(await history.read(2)) == [0, 2]


async def test_the_event_loop_goes_on_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_files, "_LOCK_WAIT_S", 10)
    history = FileHistory(path)
    await history.append(closed(0))
    with local_files.locked(path.with_name("history.jsonl.lock")):
        waiting = asyncio.create_task(history.append(closed(1)))
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not waiting.done()
    await waiting


# --- Redis ----------------------------------------------------------------------------------------------------------


@pytest.mark.redis
async def test_a_stream_lives_for_a_time_that_appending_renews(redis_server: Any) -> None:
    history = RedisHistory(redis_server.url, prefix="{justitia}", timeout_s=10, ttl_s=100)
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        for number in range(2):
            await history.append(closed(number))
            assert await client.keys() == ["{justitia}:closed"]
            assert 90 < await client.ttl("{justitia}:closed") <= 100
            await client.expire("{justitia}:closed", 5)
    await history.aclose()


@pytest.mark.redis
async def test_rubbish_in_a_stream_is_passed_over(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.redis_history._BATCH", 3)
    history = RedisHistory(redis_server.url, prefix="{justitia}", timeout_s=10)
    async with Redis.from_url(redis_server.url) as client:
        for number in range(4):
            await history.append(closed(number))
            await client.xadd("{justitia}:closed", {"closed": b"\xff\xfe"})
            await client.xadd("{justitia}:closed", {b"\xff": b"other"})
            await client.xadd(
                "{justitia}:closed", {"closed": closed_to_json(closed(9)).replace('"format":1', '"format":2')}
            )
    assert numbers(await history.read(3)) == [1, 2, 3]
    assert numbers(await history.read(10)) == [0, 1, 2, 3]
    await history.aclose()


@pytest.mark.redis
async def test_a_long_stream_is_read_in_batches(redis_server: Any) -> None:
    history = RedisHistory(redis_server.url, prefix="{justitia}", timeout_s=10)
    for number in range(600):
        await history.append(closed(number))
    assert numbers(await history.read(599)) == list(range(1, 600))
    await history.aclose()


@pytest.mark.redis
async def test_a_redis_that_is_away_or_hangs_or_refuses_is_unavailable(redis_server: Any) -> None:
    history = RedisHistory(redis_server.url, prefix="{justitia}", timeout_s=1)
    await history.append(closed(0))
    redis_server.hang()
    started = time.monotonic()
    answers = await asyncio.gather(history.append(closed(1)), history.read(1), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"the state store did not answer within 1 s"}
    assert 1 <= time.monotonic() - started < 5
    redis_server.kill()
    for asked in (history.append(closed(1)), history.read(1)):
        with pytest.raises(StoreUnavailable, match="ConnectionError"):
            await asked
    redis_server.start()
    await history.append(closed(2))
    assert numbers(await history.read(9)) == [2]
    async with Redis.from_url(redis_server.url) as client:
        await client.set("{justitia}:closed", "not a stream")
    for asked in (history.append(closed(1)), history.read(1)):
        with pytest.raises(StoreUnavailable, match="ResponseError"):
            await asked
    await history.aclose()


@pytest.mark.redis
async def test_answers_are_not_mixed_up_after_a_redis_hung(redis_server: Any) -> None:
    history = RedisHistory(redis_server.url, prefix="{justitia}", timeout_s=1)
    await history.append(closed(0))
    redis_server.hang()
    asked = [history.append(closed(number)) for number in range(1, 9)] + [history.read(1) for _ in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    redis_server.resume()
    again = RedisHistory(redis_server.url, prefix="{justitia}", timeout_s=10)
    await again.append(closed(9))  # what was sent before is done by now
    for _ in range(8):
        held = numbers(await history.read(100))
        assert (held[0], held[-1]) == (0, 9)
        assert len(set(held)) == len(held)
    await history.aclose()
    await again.aclose()


@pytest.mark.redis
async def test_a_cluster_holds_a_history(redis_cluster: Any) -> None:
    history = RedisHistory(redis_cluster.url, prefix="{justitia}", timeout_s=10)
    await history.append(closed(0))
    assert numbers(await history.read(1)) == [0]
    await history.aclose()


def test_impossible_settings_are_refused() -> None:
    for bad, why in (({"prefix": "justitia"}, "hash tag"), ({"ttl_s": 0}, "at least 1 s")):
        with pytest.raises(ValueError, match=why):
            RedisHistory("redis://localhost", **{"prefix": "{justitia}", "timeout_s": 1, **bad})
