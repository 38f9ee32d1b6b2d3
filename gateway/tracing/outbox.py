"""Spans that wait to be sent: a bounded number of them, of a bounded number of bytes; what is too much is dropped and
counted. Whoever puts something in never waits."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.tracing.config import TracingConfig

MAX_QUEUED_BYTES = 16 * 2**20
_LAST_S = 2.0
"""For what is left at the end."""


class Outbox:
    """`send`: one batch, answering whether it was taken; `count`: so many spans more were sent, or dropped."""

    def __init__(
        self, config: TracingConfig, send: Callable[[bytes], Awaitable[bool]], count: Callable[[int, bool], None]
    ) -> None:
        self._config = config
        self._send = send
        self._count = count
        self._queued: deque[tuple[int, bytes]] = deque()
        self._num_spans = 0
        self._num_bytes = 0
        self._is_batch_full = asyncio.Event()

    def put(self, num_spans: int, encoded: bytes) -> None:
        if (
            self._num_spans + num_spans > self._config.max_queued_spans
            or self._num_bytes + len(encoded) > MAX_QUEUED_BYTES
        ):
            self._count(num_spans, False)
            return
        self._queued.append((num_spans, encoded))
        self._num_spans += num_spans
        self._num_bytes += len(encoded)
        if self._num_spans >= self._config.max_batch_spans:
            self._is_batch_full.set()

    async def run(self) -> None:
        """Until cancelled: a batch as soon as it is full, anything after a while."""
        while True:
            try:
                async with asyncio.timeout(self._config.delay_s):
                    await self._is_batch_full.wait()
            except TimeoutError:
                pass
            await self._send_batch()
            while self._num_spans >= self._config.max_batch_spans:
                await self._send_batch()
            self._is_batch_full.clear()

    async def flush(self) -> None:
        """What is left, once `run` has ended, if it is taken soon."""
        try:
            async with asyncio.timeout(_LAST_S):
                while self._queued:
                    await self._send_batch()
        except TimeoutError:
            self._count(self._num_spans, False)

    async def _send_batch(self) -> None:
        batch, num_spans = [], 0
        while self._queued and num_spans < self._config.max_batch_spans:
            more, encoded = self._queued.popleft()
            batch.append(encoded)
            num_spans += more
            self._num_bytes -= len(encoded)
        self._num_spans -= num_spans
        if not batch:
            return
        is_taken = False
        try:
            is_taken = await self._send(b"".join(batch))
        finally:
            self._count(num_spans, is_taken)
