"""The way to the store: what an operation takes, what fails, and whether the store is there at all."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.errors import StoreUnavailable
from gateway.metrics import Metrics

log = logging.getLogger(__name__)
T = TypeVar("T")


class StoreLink:
    def __init__(self, metrics: Metrics, now: Callable[[], float]) -> None:
        self.is_up = True
        self._metrics = metrics
        self._now = now

    async def ask(self, operation: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store, unless it was found away: then only the sweep tries it, so that no call waits for it."""
        if not self.is_up:
            raise StoreUnavailable("The state store is away.")
        return await self.ask_even_if_down(operation, ask)

    async def look(self, operation: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask what is only shown. It is the longest operation and says least: that it fails does not take the store
        for away, which the next sweep's shortest one finds out within a second."""
        if not self.is_up:
            raise StoreUnavailable("The state store is away.")
        return await self._timed(operation, ask)

    async def ask_even_if_down(self, operation: str, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._timed(operation, ask)
        except StoreUnavailable as error:
            if self.is_up:
                self.is_up = False
                log.warning("state store is away (%s): calls go on in the order last known here", error.message)
            raise

    async def _timed(self, operation: str, ask: Callable[[], Awaitable[T]]) -> T:
        began = self._now()
        try:
            answer = await ask()
        except StoreUnavailable:
            self._metrics.store_error(operation)
            raise
        self._metrics.store_operation(operation, self._now() - began)
        return answer
