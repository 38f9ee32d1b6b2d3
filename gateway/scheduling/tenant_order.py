"""Finish times in step with their tenants, where tenants have the shares.

There, what one application does moves the others of its tenant: a newcomer comes before some, one that costs more than
was thought delays those behind it. So after a change the store is asked where they stand now, once for all changes of
some moments; and with every sweep, since other gateways' applications move ours as well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from gateway.batches import batches
from gateway.errors import StoreUnavailable
from gateway.fairness.units import ApplicationId, VirtualTime

FinishTimes = Callable[[Collection[ApplicationId]], Awaitable[Mapping[ApplicationId, VirtualTime]]]

_AFTER_S = 0.01
"""From a change to the question: a burst of arrivals is one change."""

_AT_ONCE = 256
"""Applications asked about in one question: some milliseconds, for which no call gets its turn."""

_SHARE_OF_TIME = 0.1
"""At most, of the time, goes into asking: with very many applications it is done less often."""


class TenantOrder:
    """`live`: the applications with calls here, by tenant; `finish_times` asks the store, raising StoreUnavailable;
    `on_moved` is told of each whose finish time is known anew."""

    def __init__(
        self,
        live: Callable[[Collection[str]], list[ApplicationId]],
        finish_times: FinishTimes,
        on_moved: Callable[[ApplicationId, VirtualTime], None],
    ) -> None:
        self._live = live
        self._finish_times = finish_times
        self._on_moved = on_moved
        self._changed: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._wait_s = _AFTER_S

    def changed(self, tenant: str) -> None:
        """Something of its has come, changed or gone."""
        self._changed.add(tenant)
        if self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            while self._changed:
                await asyncio.sleep(self._wait_s)
                self._wait_s = max(_AFTER_S, await self._ask() / _SHARE_OF_TIME)
        finally:
            self._task = None

    async def _ask(self) -> float:
        """How long it took, in seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        tenants, self._changed = self._changed, set()
        live = self._live(tenants)
        try:
            for some in batches(live, _AT_ONCE):
                finish_times = await self._finish_times(some)
                for application_id, finish_time in finish_times.items():
                    self._on_moved(application_id, finish_time)
                await asyncio.sleep(0)
        except StoreUnavailable:
            return 0.0  # the next sweep finds out
        return loop.time() - began
