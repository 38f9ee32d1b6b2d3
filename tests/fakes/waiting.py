"""Waiting for what happens in another process, which has no event to wait for."""

import asyncio
from collections.abc import Awaitable, Callable

_INTERVAL_S = 0.02


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(_INTERVAL_S)
