"""How much memory this process holds, where the system tells."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from gateway.scheduling.events import MemoryRead

log = logging.getLogger(__name__)

_STATM = Path("/proc/self/statm")

_INTERVAL_S = 1.0
"""Not at every tick: what a call held is given back by its own task, a little after it was shed."""


async def watch_memory(
    max_bytes: int, tell: Callable[[MemoryRead], None], resident: Callable[[], int | None] | None = None
) -> None:
    """For ever, or until there is nothing to read."""
    was_over = False
    while (held := (resident or resident_bytes)()) is not None:
        is_over = held > max_bytes
        if is_over and not was_over:
            log.warning("the process holds %d bytes, more than %d: calls are shed and refused", held, max_bytes)
        was_over = is_over
        tell(MemoryRead(held - max_bytes))
        await asyncio.sleep(_INTERVAL_S)
    log.warning("this system does not tell how much memory the process holds: max_memory_bytes has no effect")


def resident_bytes() -> int | None:
    """None: not on this system."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
