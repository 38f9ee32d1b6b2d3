"""The world of the dispatcher's tests, with terms for tenants and a ledger that gateways share."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.errors import StoreUnavailable
from gateway.identity import KindRegistry
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.ports import TenantShare, TenantTotals
from gateway.scheduling.dispatcher import Dispatcher
from gateway.scheduling.model import CallRequest
from gateway.stores.memory_usage import MemoryUsage
from tests.fakes.world import World


class FailingLedger:
    """A real one in memory behind a switch."""

    def __init__(self, world: World) -> None:
        self.inner = MemoryUsage(lambda: world.time)
        self.is_down = False
        self.loses_answers = False
        self.was_told = asyncio.Event()

    async def exchange(
        self, gateway: str, sequence: int, shares: Mapping[str, TenantShare]
    ) -> Mapping[str, TenantTotals]:
        if self.is_down:
            raise StoreUnavailable("away, as the test wants it")
        totals = await self.inner.exchange(gateway, sequence, shares)
        self.was_told.set()
        if self.loses_answers:
            raise StoreUnavailable("too late, as the test wants it")
        return totals

    async def aclose(self) -> None:
        return None


class LimitedWorld(World):
    def __init__(
        self,
        terms: Mapping[str, TenantTerms],
        *,
        caps_weights: bool = True,
        beside: "LimitedWorld | None" = None,
        **options: Any,
    ) -> None:
        """`terms`: by tenant, and may be changed."""
        super().__init__(beside=beside, **options)
        self.terms = terms
        self.ledger = FailingLedger(self) if beside is None else beside.ledger
        self.dispatcher = Dispatcher(
            self.settings,
            self.store,
            self.engines,
            self.predictor,
            self.metrics,
            KindRegistry(),
            lambda: self.time,
            terms_of=lambda tenant: self.terms.get(tenant, NO_LIMITS),
            caps_weights=lambda: caps_weights,
            ledger=self.ledger,
        )

    def of(self, tenant: str, application: str, **request: Any) -> CallRequest:
        asked = self.request(application, **request)
        own_id = f"{tenant}/{application}"
        identity = replace(asked.identity, tenant=tenant, application_id=own_id, root=own_id)
        return replace(asked, identity=identity)

    async def exchange(self) -> None:
        await self.dispatcher._usage_feed.exchange()
        await self.settle()
