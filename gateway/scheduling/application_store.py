"""The shared store as the applications of this gateway use it: asked in time, counted, and with the last clock seen."""

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Final

from gateway.errors import StoreUnavailable
from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime
from gateway.metrics import Metrics
from gateway.ports import ApplicationRecord, Arrival, Snapshot, Standing, StateStore
from gateway.scheduling.store_link import StoreLink

CHARGED_AT_ONCE: Final = 32
"""Applications: where tenants have the shares, the store looks at many others of its tenant with each."""

_SWEEP_LIMIT: Final = 256
"""Idle applications closed at once: bounded, so that no operation of the store is long."""


class Return(Enum):
    """How the store was found by a sweep."""

    WAS_HERE = 0
    REMEMBERS = 1
    FORGOT = 2


class ApplicationStore:
    """Everything here raises StoreUnavailable while the store is away, except `snapshot`. Once it was found away only
    `revived` tries it, so that no call waits for it."""

    def __init__(self, store: StateStore, metrics: Metrics, now: Callable[[], float]) -> None:
        self._store = store
        self._link = StoreLink(metrics, now)
        self.virtual_time = VirtualTime(0.0)
        """The last one seen here. It never moves back, whatever the store has lost."""

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    # --- one application --------------------------------------------------------------------------------------------

    async def arrive(self, arrival: Arrival, at: float) -> Standing:
        standing = await self._link.ask("arrive", lambda: self._store.arrive(arrival, at))
        self._saw(standing.virtual_time)
        return standing

    async def get(self, application_id: ApplicationId) -> Standing | None:
        return self._placed(await self._link.ask("get", lambda: self._store.get(application_id)))

    async def revise(self, application_id: ApplicationId, cost: KvTokenTime) -> Standing | None:
        return self._placed(await self._link.ask("revise", lambda: self._store.revise(application_id, cost)))

    async def settle(self, application_id: ApplicationId, measured: KvTokenTime) -> None:
        """The measured cost replaces the prediction. One that was never served costs nothing, and is not counted into
        the mean of its kind."""
        if measured > 0:
            await self._link.ask("close", lambda: self._store.close(application_id, measured))
        else:
            await self.revise(application_id, KvTokenTime(0.0))
            await self._link.ask("close", lambda: self._store.close(application_id))

    # --- many of them -----------------------------------------------------------------------------------------------

    async def charge(
        self, services: Mapping[ApplicationId, KvTokenTime], now: float
    ) -> Mapping[ApplicationId, Standing]:
        """Of those that are known there. No more than `CHARGED_AT_ONCE`."""
        standings = await self._link.ask("charge", lambda: self._store.charge(services, now))
        for standing in standings.values():
            self._saw(standing.virtual_time)
        return standings

    async def touch(self, application_ids: Collection[ApplicationId], now: float) -> None:
        await self._link.ask("touch", lambda: self._store.touch(application_ids, now))

    async def expire(self, idle_before: float) -> list[ApplicationId]:
        """Those it has closed, some of the idle ones."""
        expired = await self._link.ask("expire", lambda: self._store.expire(idle_before, _SWEEP_LIMIT))
        return [standing.application.application_id for standing in expired]

    async def finish_times(self, application_ids: Collection[ApplicationId]) -> Mapping[ApplicationId, VirtualTime]:
        return await self._link.ask("finish_times", lambda: self._store.finish_times(application_ids))

    async def mean_cost(self, kind: str) -> KvTokenTime | None:
        return await self._link.ask("mean_cost", lambda: self._store.mean_cost(kind))

    async def snapshot(self, limit: int, known: Iterable[ApplicationRecord]) -> Snapshot:
        """The shared state; what is `known` here while the store is away."""
        try:
            return await self._link.look("snapshot", lambda: self._store.snapshot(limit))
        except StoreUnavailable:
            records = sorted(known, key=lambda r: (r.virtual_finish_time, r.application_id))
            backlogged = tuple(r.application_id for r in records if r.virtual_finish_time > self.virtual_time)
            return Snapshot(self.virtual_time, backlogged, tuple(records))

    # --- its clock --------------------------------------------------------------------------------------------------

    async def report(self, source: str, incarnation: int, counter: KvTokenTime) -> None:
        """An engine's counter moves the clock."""
        self._saw(await self._link.ask("report", lambda: self._store.report(source, incarnation, counter)))

    async def revived(self) -> Return:
        """How it is found, also if it was away. One that was, or that has lost its memory, has the last clock seen here
        again."""
        last_seen = self.virtual_time
        reading = await self._restore(VirtualTime(0.0))
        has_forgotten = reading < last_seen
        if self._link.is_up and not has_forgotten:
            return Return.WAS_HERE
        await self._restore(last_seen)
        self._link.is_up = True
        return Return.FORGOT if has_forgotten else Return.REMEMBERS

    async def _restore(self, virtual_time: VirtualTime) -> VirtualTime:
        return await self._link.ask_even_if_down("restore", lambda: self._store.restore(virtual_time))

    def _placed(self, standing: Standing | None) -> Standing | None:
        if standing is not None:
            self._saw(standing.virtual_time)
        return standing

    def _saw(self, virtual_time: VirtualTime) -> None:
        self.virtual_time = VirtualTime(max(self.virtual_time, virtual_time))
