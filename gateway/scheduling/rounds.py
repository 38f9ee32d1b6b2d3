"""What every sweep does with the applications known here: some at a time, and calls have their turn between. A store in
this process never waits, and of thousands each is a moment in which nothing else happens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from gateway.batches import batches
from gateway.fairness.units import ApplicationId
from gateway.scheduling.application_store import CHARGED_AT_ONCE, ApplicationStore
from gateway.scheduling.charges import Charges
from gateway.scheduling.cost_revision import CostRevision
from gateway.scheduling.local_application import LocalApplication

_PASSED_AT_ONCE: Final = 512
_LOOKED_AT_ONCE: Final = 16
"""A refined cost takes some tenths of a millisecond."""


class Rounds:
    """`known` as it is at each moment; `enter_anew` for those that the store has lost; `on_touched` is told of those
    with calls."""

    def __init__(
        self,
        known: Mapping[ApplicationId, LocalApplication],
        store: ApplicationStore,
        charges: Charges,
        costs: CostRevision,
        now: Callable[[], float],
        *,
        enter_anew: Callable[[LocalApplication], Awaitable[None]],
        on_touched: Callable[[LocalApplication], None],
    ) -> None:
        self._known = known
        self._store = store
        self._charges = charges
        self._costs = costs
        self._now = now
        self._enter_anew = enter_anew
        self._on_touched = on_touched

    async def send_charges(self) -> None:
        """Raises StoreUnavailable, as all of these."""
        async for some in self._those(lambda local: local.unsent_service and not local.is_settling, CHARGED_AT_ONCE):
            for local in await self._charges.send(some):
                if self._known.get(local.record.application_id) is local and not local.is_settling:
                    await self._enter_anew(local)

    async def look_at_costs_again(self) -> None:
        mean_cost = self._costs.means_asked_once()
        async for some in self._those(lambda local: local.course.may_be_told_anew, _LOOKED_AT_ONCE):
            for local in some:
                await self._costs.looked_at_again(local, mean_cost)

    async def touch(self) -> None:
        """Those with calls are alive."""
        async for some in self._those(lambda local: local.num_calls, _PASSED_AT_ONCE):
            for local in some:
                self._on_touched(local)
            await self._store.touch([local.record.application_id for local in some], self._now())

    async def _those(
        self, are_meant: Callable[[LocalApplication], object], at_once: int
    ) -> AsyncIterator[Sequence[LocalApplication]]:
        for some in batches(list(self._known.values()), _PASSED_AT_ONCE):
            for few in batches([local for local in some if are_meant(local)], at_once):
                yield few
                await asyncio.sleep(0)
            await asyncio.sleep(0)
