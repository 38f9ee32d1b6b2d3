"""A client that leaves cancels what is done for it, at whatever await that is.

The watcher cancels the task that runs the block, as `asyncio.timeout` does: CancelledError passes through everything
inside (so the call ends as cancelled and the engine is hung up on) and leaves the block as ClientDisconnected. A
cancellation from elsewhere stays one.
"""

import asyncio
from types import TracebackType

from starlette.types import Receive

from gateway.errors import ClientDisconnected


class ClientWatch:
    """Use it once the body has been read: from then on `receive` has nothing to say but that the client left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_left = False
        self._is_over = False

    async def __aenter__(self) -> "ClientWatch":
        task = asyncio.current_task()
        assert task is not None
        self._task, self._num_cancelling = task, task.cancelling()
        self._watcher = asyncio.create_task(self._watch())
        return self

    def stop(self) -> None:
        """Before the last byte: servers report a complete answer, too, as a disconnect."""
        self._is_over = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._watcher.cancel()
        if self._has_left and self._task.uncancel() <= self._num_cancelling and kind is asyncio.CancelledError:
            raise ClientDisconnected("The client left.") from error

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._is_over:
            self._has_left = True
            self._task.cancel()
