"""An answer on its way in: what has arrived of it and was not taken yet."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Protocol

from gateway.errors import EngineError, EngineUnreachable


class Source(Protocol):
    """The connection that an answer comes through, for as long as it does."""

    def resume(self) -> None:
        """There is room again."""
        ...

    def hang_up(self) -> None:
        """Nobody wants the rest. Fails the answer."""
        ...


class UpstreamResponse:
    """Implements `gateway.ports.EngineResponse`, and is the iterator over its own chunks. For one reader."""

    __slots__ = ("_engine", "_error", "_is_complete", "_pieces", "_source", "_waiter", "headers", "num_kept", "status")

    def __init__(self, engine: str, source: Source) -> None:
        self.status = 0
        """0 until the answer has begun."""
        self.headers: list[tuple[bytes, bytes]] = []
        self.num_kept = 0
        """Bytes that arrived and were not taken."""
        self._engine = engine
        self._source: Source | None = source
        self._pieces: list[bytes] = []
        self._is_complete = False
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # --- for the reader ---

    def chunks(self) -> AsyncIterator[bytes]:
        """Everything that has arrived since the last chunk, as one. What came before a failure comes before its
        error: EngineUnreachable (broken off) or EngineTimeout (silent for too long)."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        pieces = self._pieces
        while not pieces:
            self._raise_any_failure()
            if self._is_complete:
                raise StopAsyncIteration
            await self._wait()
        chunk = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.num_kept = 0
        if self._source is not None:
            self._source.resume()
        return chunk

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body, of an answer that should be short."""
        body = bytearray()
        async for chunk in self:
            body += chunk
            if len(body) > limit_bytes:
                raise EngineUnreachable(f"engine {self._engine}: an answer of more than {limit_bytes} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Closes the connection if the body is not all here, which is what aborts the call in the engine."""
        if self._source is not None:
            self._source.hang_up()
        self._pieces.clear()

    # --- for the connection ---

    async def begun(self) -> None:
        """Until the status is here. Raises what `chunks` raises."""
        while not self.status:
            self._raise_any_failure()
            await self._wait()

    def keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self.num_kept += len(data)

    def complete(self) -> None:
        self._is_complete, self._source = True, None

    def fail(self, error: EngineError) -> None:
        self._error, self._source = error, None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _raise_any_failure(self) -> None:
        if self._error is not None:
            # A copy, since the traceback of what is raised refers to this answer, which refers to its error.
            raise copy.copy(self._error) from self._error.__cause__

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except BaseException:  # cancelled: whoever asked has gone, and the engine is to know
            if self._source is not None:
                self._source.hang_up()
            raise
        finally:
            self._waiter = None
