"""A client that leaves cancels what is done for it, at whatever await that is.

The watcher cancels the task that runs the block, as `asyncio.timeout` does: CancelledError passes through everything
inside (so the call ends as cancelled and the engine is hung up on) and leaves the block as ClientDisconnected. A
cancellation from elsewhere stays one.

It begins to watch a moment later: most answers of a fast engine, and all refusals, are over by then, and a task for
each of them would cost more than telling whose call it is.
"""

import asyncio
from types import TracebackType

from starlette.types import Receive

from gateway.errors import ClientDisconnected

_FIRST_LOOK_S = 0.02
"""How much later than at once a client that left is noticed at most."""


class ClientWatch:
    """Use it once the body has been read: from then on `receive` has nothing to say but that the client left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_left = False
        self._is_over = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ClientWatch":
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task, self._num_cancelling = task, task.cancelling()
        self._start = loop.call_later(_FIRST_LOOK_S, self._begin)
        return self

    def stop(self) -> None:
        """Before the last byte: servers report a complete answer, too, as a disconnect."""
        self._is_over = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._start.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # it keeps its cancellation, whose traceback leads back to here
        if self._has_left and self._task.uncancel() <= self._num_cancelling and kind is asyncio.CancelledError:
            raise ClientDisconnected("The client left.") from error

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._is_over:
            self._has_left = True
            self._task.cancel()
