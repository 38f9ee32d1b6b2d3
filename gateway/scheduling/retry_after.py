"""When is it worth to come back? What Retry-After says of a queue that had no place. Pure.

Those who were refused lately come back too, each for a place of its own, so a newcomer's turn comes after those who
wait ahead of it and after them: seconds = (1 + ahead + refused lately) / calls that left the queue a second. The more
are refused, the later they come back, which is what keeps retries from being a load of their own.

Who is refused for its tenant's sake counts against that tenant alone: nobody waits longer because somebody else goes on
knocking at a limit of their own.
"""

from collections import OrderedDict

from gateway.scheduling.pace import Pace

MIN_S = 1.0
MAX_S = 60.0
"""A client told to wait for longer asks its user first."""

SLOWEST_PER_S = 1 / 30
"""What is taken for the pace while nothing leaves the queue: one call in a window."""

MAX_TENANTS = 1_000
"""That were refused lately; beyond it the one refused longest ago is forgotten."""

_REFUSED_S = 15.0
"""Refusals count for this long: most who come back have come by then, and should not be counted again."""

_EVERYBODY = ""


class RetryAfter:
    def __init__(self) -> None:
        self._left = Pace()
        self._refused: OrderedDict[str, Pace] = OrderedDict()

    def dispatched(self, now: float) -> None:
        """A call left the queue for an engine."""
        self._left.add(now)

    def refuse(self, num_ahead: int, now: float, tenant: str = _EVERYBODY) -> float:
        """A call is told to come back, after this many seconds, in [MIN_S, MAX_S]."""
        refused = self._refused.get(tenant)
        if refused is None:
            if len(self._refused) >= MAX_TENANTS:
                self._refused.popitem(last=False)
            refused = self._refused[tenant] = Pace(_REFUSED_S)
        self._refused.move_to_end(tenant)
        pace = max(self._left.per_second(now), SLOWEST_PER_S)
        seconds = (1 + num_ahead + refused.count(now)) / pace
        refused.add(now)
        return min(MAX_S, max(MIN_S, seconds))
