"""Waiting for what happens in another process, which has no event to wait for."""

import asyncio
import time
from collections.abc import Awaitable, Callable

_INTERVAL_S = 0.02
_LONGEST_LOOK_S = 0.2
_GIVE_UP_S = 300.0


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    """Looks again and again until `condition`; TimeoutError if that takes longer than `timeout_s`.

    One look counts for 0.2 s at most: a virtual machine that is not given its cores for seconds has not failed.
    """
    patience_s = timeout_s
    async with asyncio.timeout(_GIVE_UP_S):
        while True:
            began = time.monotonic()
            if await condition():
                return
            if patience_s <= 0:
                raise TimeoutError(f"not within {timeout_s:g} s")
            await asyncio.sleep(_INTERVAL_S)
            patience_s -= min(time.monotonic() - began, _LONGEST_LOOK_S)
