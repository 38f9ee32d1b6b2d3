"""What waits to be sent is bounded, in spans and in bytes."""

import asyncio

import pytest

from gateway.tracing import outbox
from gateway.tracing.config import TracingConfig
from gateway.tracing.outbox import Outbox

CONFIG = TracingConfig("http://c/v1/traces", delay_s=3600, max_queued_spans=6, max_batch_spans=4)


class Post:
    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.batches: list[bytes] = []
        self.counted = {True: 0, False: 0}
        self.outbox = Outbox(CONFIG, self._send, self._count)
        self.sent = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def _send(self, batch: bytes) -> bool:
        await self.gate.wait()
        self.batches.append(batch)
        self.sent.set()
        return self.takes

    def _count(self, more: int, are_sent: bool) -> None:
        self.counted[are_sent] += more


async def test_a_full_batch_goes_at_once_and_the_rest_waits() -> None:
    post = Post()
    running = asyncio.create_task(post.outbox.run())
    for name in (b"a", b"b", b"c"):
        post.outbox.put(2, name)
    await post.sent.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (post.batches, post.counted) == ([b"ab"], {True: 4, False: 0})
    await post.outbox.flush()
    assert (post.batches, post.counted) == ([b"ab", b"c"], {True: 6, False: 0})


async def test_too_many_spans_are_dropped_and_counted() -> None:
    post = Post()
    for _ in range(5):
        post.outbox.put(3, b"s")
    assert post.counted == {True: 0, False: 9}


async def test_too_many_bytes_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_QUEUED_BYTES", 10)
    post = Post()
    post.outbox.put(1, b"x" * 8)
    post.outbox.put(1, b"x" * 8)
    assert post.counted == {True: 0, False: 1}


async def test_there_is_room_again_when_a_batch_has_left() -> None:
    post = Post(takes=False)
    for _ in range(3):
        post.outbox.put(2, b"s")
        await post.outbox.flush()
    post.outbox.put(6, b"s")
    assert post.counted == {True: 0, False: 6}


async def test_the_end_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_LAST_S", 0.01)
    post = Post()
    post.gate.clear()
    for _ in range(3):
        post.outbox.put(2, b"s")
    await post.outbox.flush()
    assert post.counted == {True: 0, False: 6}
