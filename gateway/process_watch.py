"""Watches the process it runs in: is its event loop on time, what does it hold. No call waits for it."""

import asyncio
import time

from gateway.metrics import Metrics
from gateway.process_reading import read_process

_TICK_S = 0.1
_TICKS_A_READING = 50
"""Counting thousands of open files takes milliseconds."""


async def watch_process(metrics: Metrics) -> None:
    """Until cancelled."""
    while True:
        reading = read_process()
        if reading is not None:
            metrics.process(reading)
        for _ in range(_TICKS_A_READING):
            due_at = time.monotonic() + _TICK_S
            await asyncio.sleep(_TICK_S)
            metrics.event_loop_lag(max(0.0, time.monotonic() - due_at))
