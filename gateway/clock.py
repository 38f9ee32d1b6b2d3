"""The time of day that never goes back: Unix seconds read once, advanced by the monotonic clock.

One base for durations (steady) and for what gateways compare among themselves (Unix), skewed by no more than the
machine's own clock was at the start.
"""

import time


class SteadyClock:
    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset_s + time.monotonic()
