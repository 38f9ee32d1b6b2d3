"""What closes, on its way into the history: many at once, since each writing is a thread's work or a question."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from gateway.errors import StoreUnavailable
from gateway.ports import ClosedApplication, History

log = logging.getLogger(__name__)

_MAX_UNWRITTEN = 1024
"""Closed applications that wait for a slow history; of more, the earliest are let go."""
_GATHERED_S: Final = 0.25
"""From one that closes to the writing of all that did meanwhile."""


class Keeping:
    def __init__(self, history: History, heard: Callable[[StoreUnavailable | None], None]) -> None:
        """`heard` is told of every writing: None, or why it could not be done."""
        self._history = history
        self._heard = heard
        self._unwritten: deque[ClosedApplication] = deque(maxlen=_MAX_UNWRITTEN)
        self._has_some = asyncio.Event()

    def note(self, closed: ClosedApplication) -> None:
        """Never waits."""
        self._unwritten.append(closed)
        self._has_some.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._has_some.wait()
            await asyncio.sleep(_GATHERED_S)
            await self.write()

    async def write(self) -> None:
        """All that waits."""
        self._has_some.clear()
        closed = [*self._unwritten]
        self._unwritten.clear()
        if not closed:
            return
        try:
            await self._written(closed)
        except StoreUnavailable as error:
            self._heard(error)
        else:
            self._heard(None)

    async def _written(self, closed: Sequence[ClosedApplication]) -> None:
        try:
            await self._history.append(*closed)
        except ValueError as error:
            if len(closed) > 1:
                for one in closed:  # one of them cannot be kept
                    await self._written([one])
            else:
                log.warning("an application of kind %s is not kept: %s", closed[0].kind, error)
