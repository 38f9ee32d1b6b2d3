"""Comments in a stream whose call waits for its turn: they keep the connection alive and say how things stand.

An SSE comment is a line that begins with a colon, which clients pass over. The first one begins the answer, so from
then on its status is 200 and whatever goes wrong is an event.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

from gateway.http.exchange import Exchange
from gateway.scheduling.model import Waiting

_STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class WaitingComments:
    """Sends one every `interval_s` until `stop`."""

    def __init__(self, exchange: Exchange, interval_s: float, standing: Callable[[], Waiting | None]) -> None:
        self._exchange = exchange
        self._interval_s = interval_s
        self._standing = standing
        self._start: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "WaitingComments":
        self._start = asyncio.get_running_loop().call_later(self._interval_s, self._begin)
        return self

    async def stop(self) -> None:
        """Nothing is sent by it after this."""
        assert self._start is not None
        self._start.cancel()
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._send_for_ever())

    async def _send_for_ever(self) -> None:
        while (standing := self._standing()) is not None:
            if not self._exchange.has_begun:
                self._exchange.is_event_stream = True
                await self._exchange.begin(200, _STREAM_HEADERS)
            await self._exchange.write(_comment(standing))
            await asyncio.sleep(self._interval_s)


def _comment(standing: Waiting) -> bytes:
    wait_s = standing.expected_wait_s
    expected = "" if wait_s is None else f", expected in {wait_s:.0f} s"
    return f": waiting, {standing.calls_ahead} ahead{expected}\n\n".encode()
