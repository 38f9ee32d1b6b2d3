"""Tells the ledger what this gateway's tenants use and run, and hears of the others': once a second, beside the calls.

No call waits for it. While the ledger is away this gateway counts alone, and what it could not tell is told again. What
is only read by people goes to the sums, of which this gateway hears when somebody asks.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice

from gateway.errors import StoreUnavailable
from gateway.ports import TenantShare, UsageLedger
from gateway.scheduling.quotas import Quotas
from gateway.scheduling.tenant_usage import TenantUsage, UsageBook
from gateway.usage_sums import UsageSums, Used

log = logging.getLogger(__name__)

EXCHANGE_S = 1.0

_BATCH = 256
"""Tenants of one exchange, or tenants and applications: about a millisecond, for which Redis serves nobody else."""


class UsageFeed:
    """`running`: calls of capped tenants here; `on_elsewhere` is told, every time, those at other gateways.

    Without a ledger there are no other gateways. `sums` is told what is new in `book`."""

    def __init__(
        self,
        ledger: UsageLedger | None,
        quotas: Quotas,
        gateway_id: str,
        now: Callable[[], float],
        running: Callable[[], Mapping[str, int]],
        on_elsewhere: Callable[[Mapping[str, int]], None],
        *,
        sums: UsageSums | None = None,
        book: UsageBook | None = None,
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
        self._sums = sums
        self._book = UsageBook() if book is None else book
        self._unsummed: deque[tuple[int, dict[str, Used]]] = deque()
        if sums is not None:
            self._book.keep_news()

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(EXCHANGE_S)
                await self.exchange()
                await self.add_up()
        finally:
            await self.add_up()  # the last second's, of a gateway that ends

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

    async def add_up(self) -> None:
        """Never raises for sums that are away: they are told again, and `exchange` has told of it."""
        if self._sums is None:
            return
        if not self._unsummed:
            self._unsummed.extend((next(self._sequences), batch) for batch in _batches(self._book.news()))
        try:
            while self._unsummed:
                await self._sums.add(self._gateway_id, *self._unsummed[0])
                self._unsummed.popleft()
        except StoreUnavailable:
            return

    async def usage_of(self, tenant: str) -> TenantUsage:
        """Through all gateways, as they have told it; through this one alone, where it cannot be known."""
        if self._sums is not None:
            try:
                return self._book.read_with(await self._sums.read(tenant), tenant, self._now())
            except StoreUnavailable:
                pass
        return self._book.read(tenant, self._now())


def _batches(news: Mapping[str, Used]) -> Iterator[dict[str, Used]]:
    """Each of a bounded size: of a tenant's applications there are never so many."""
    batch: dict[str, Used] = {}
    size = 0
    for tenant, used in news.items():
        batch[tenant] = used
        size += 1 + len(used.applications)
        if size >= _BATCH:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch
