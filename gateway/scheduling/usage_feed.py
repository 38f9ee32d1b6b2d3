"""Tells the ledger what this gateway's tenants use and run, and hears of the others': once a second, beside the calls.

No call waits for it. While the ledger is away this gateway counts alone, and what it could not tell is told again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count, islice

from gateway.errors import StoreUnavailable
from gateway.ports import TenantShare, UsageLedger
from gateway.scheduling.quotas import Quotas

log = logging.getLogger(__name__)

EXCHANGE_S = 1.0

_BATCH = 256
"""Tenants of one exchange: about a millisecond, for which Redis serves nobody else."""


class UsageFeed:
    """`running`: calls of capped tenants here; `on_elsewhere` is told, every time, those at other gateways.

    Without a ledger there are no other gateways."""

    def __init__(
        self,
        ledger: UsageLedger | None,
        quotas: Quotas,
        gateway_id: str,
        now: Callable[[], float],
        running: Callable[[], Mapping[str, int]],
        on_elsewhere: Callable[[Mapping[str, int]], None],
    ) -> None:
        self._ledger = ledger
        self._quotas = quotas
        self._gateway_id = gateway_id
        self._now = now
        self._running = running
        self._on_elsewhere = on_elsewhere
        self._sequences = count(1)
        self._untold: deque[tuple[int, dict[str, TenantShare]]] = deque()
        self._is_up = True

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EXCHANGE_S)
            await self.exchange()

    async def exchange(self) -> None:
        if not self._untold:
            self._gather()
        elsewhere: dict[str, int] = {}
        try:
            while self._untold:
                elsewhere |= await self._tell(*self._untold[0])
                self._untold.popleft()
        except StoreUnavailable as error:
            if self._is_up:
                log.warning("usage ledger is away (%s): quotas and caps count this gateway alone", error.message)
            self._is_up = False
        else:
            self._is_up = True
        self._on_elsewhere(elsewhere)

    def _gather(self) -> None:
        shares = self._quotas.shares(self._running(), self._now())
        tenants = iter(shares.items())
        while self._ledger is not None and (batch := dict(islice(tenants, _BATCH))):
            self._untold.append((next(self._sequences), batch))

    async def _tell(self, sequence: int, shares: dict[str, TenantShare]) -> dict[str, int]:
        assert self._ledger is not None
        now = self._now()
        totals = await self._ledger.exchange(self._gateway_id, sequence, shares)
        self._quotas.learn(totals, now)
        return {tenant: total.running_elsewhere for tenant, total in totals.items() if total.running_elsewhere}
