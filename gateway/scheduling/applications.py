"""The applications this gateway serves, in step with the shared store.

The store is asked once per application event (first call; what its ended calls cost, once a sweep; close), never once
per call. When it does not answer, no call is lost: applications known here keep their place, new ones get one
from the last clock seen here (`provisional`), and charges are kept. When it answers again, every live application is
entered anew, which is a no-op in a store that kept its memory and repairs one that lost it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from gateway.errors import ApplicationClosed, ApplicationNotFound, StoreUnavailable
from gateway.fairness.cost import remaining_cost
from gateway.fairness.shares import SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens, VirtualTime
from gateway.metrics import Metrics
from gateway.ports import (
    ApplicationRecord,
    Arrival,
    ClosedApplication,
    CostPredictor,
    FirstCall,
    Prediction,
    Snapshot,
    Standing,
    StateStore,
)
from gateway.scheduling.application_store import ApplicationStore, Return
from gateway.scheduling.charges import Charges
from gateway.scheduling.cost_revision import CostRevision
from gateway.scheduling.course import Course
from gateway.scheduling.local_application import LocalApplication, provisional_record
from gateway.scheduling.rounds import Rounds
from gateway.scheduling.tenant_order import TenantOrder
from gateway.settings import ApplicationSettings

log = logging.getLogger(__name__)

_CLOSED_REMEMBERED = 4096
"""Ids for which a second close is answered `application_closed`; older ones are not found."""


class Applications:
    """Opens, charges, closes; tells the scheduler through `on_ranked` and `on_forgotten`, and whoever learns
    from it through `on_closed`."""

    def __init__(
        self,
        store: StateStore,
        predictor: CostPredictor,
        settings: ApplicationSettings,
        metrics: Metrics,
        now: Callable[[], float],
        *,
        shares: SharesName = "application",
        on_ranked: Callable[[LocalApplication], None],
        on_forgotten: Callable[[ApplicationId], None],
        on_closed: Callable[[ClosedApplication, Prediction], None],
    ) -> None:
        self._store = ApplicationStore(store, metrics, now)
        self._charges = Charges(self._store, now, self._placed)
        self._costs = CostRevision(predictor, self._store, self._placed)
        self._predictor = predictor
        self._settings = settings
        self._metrics = metrics
        self._now = now
        self._on_ranked = on_ranked
        self._on_forgotten = on_forgotten
        self._on_closed = on_closed
        self._known: dict[ApplicationId, LocalApplication] = {}
        self._opening: dict[ApplicationId, asyncio.Task[LocalApplication]] = {}
        self._closing_tasks: set[asyncio.Task[None]] = set()
        self._recently_closed: dict[ApplicationId, None] = {}
        self._rounds = Rounds(
            self._known,
            self._store,
            self._charges,
            self._costs,
            now,
            enter_anew=self._enter_anew,
            on_touched=self._changed,
        )
        self._order = TenantOrder(self._live_of, self._store.finish_times, self._moved) if shares == "tenant" else None

    def get(self, application_id: ApplicationId) -> LocalApplication | None:
        return self._known.get(application_id)

    @property
    def store_is_up(self) -> bool:
        return self._store.is_up

    def unsent_service(self, application_id: ApplicationId) -> KvTokenTime:
        """Charged here, not yet in the store."""
        local = self._known.get(application_id)
        return KvTokenTime(local.unsent_service if local is not None else 0.0)

    # --- opening ----------------------------------------------------------------------------------------------------

    async def open(self, arrival: Arrival, first_call: FirstCall | None, declared: bool) -> LocalApplication:
        """The application, entered in the store if need be. Calls that arrive together ask once.

        `arrival.cost` counts only if `declared`; otherwise it is predicted.
        """
        while True:
            local = self.get_fresh(arrival.application_id)
            if local is not None:
                return local
            task = self._opening.get(arrival.application_id)
            if task is None:
                task = asyncio.create_task(self._open(arrival, None if declared else first_call))
                self._opening[arrival.application_id] = task
            local = await asyncio.shield(task)
            if self._known.get(arrival.application_id) is local:  # not closed again before we had our turn
                return local

    def __len__(self) -> int:
        return len(self._known)

    def get_fresh(self, application_id: ApplicationId) -> LocalApplication | None:
        """It, unless it was idle for so long that another gateway's sweep may have closed it."""
        local = self._known.get(application_id)
        if local is None or local.num_calls:
            return local
        return local if self._now() - local.asked_at <= self._settings.idle_close_s / 2 else None

    async def _open(self, arrival: Arrival, first_call: FirstCall | None) -> LocalApplication:
        try:
            return await self._enter(arrival, first_call)
        finally:
            del self._opening[arrival.application_id]

    async def _enter(self, arrival: Arrival, first_call: FirstCall | None) -> LocalApplication:
        now = self._now()
        is_provisional = False
        prediction = Prediction(arrival.cost, "declared")
        try:
            if first_call is not None:
                prediction = Prediction(KvTokenTime(self._settings.default_cost), "default")
                prediction = await self._costs.predicted(first_call)
                arrival = replace(arrival, cost=prediction.cost)
            standing = await self._store.arrive(arrival, now)
        except StoreUnavailable:
            standing, is_provisional = self._provisional(arrival, now), True
        local = self._known.get(arrival.application_id)
        if local is None:
            record = standing.application
            if not is_provisional and (record.service or record.predicted_cost != arrival.cost):
                # Open already, by another gateway: what we have seen is not its first call.
                prediction = Prediction(record.predicted_cost, "elsewhere")
            local = LocalApplication(record, Course(prediction), now, first_arrival_at=now, last_end_at=now)
            self._known[arrival.application_id] = local
        local.tenant_weight = arrival.tenant_weight
        local.asked_at, local.is_provisional = now, is_provisional
        self._recently_closed.pop(arrival.application_id, None)
        self._placed(local, standing)
        return local

    async def first_call_came(self, local: LocalApplication, first_call: FirstCall) -> None:
        await self._costs.first_call_came(local, first_call)

    def _provisional(self, arrival: Arrival, now: float) -> Standing:
        virtual_time = self._store.virtual_time
        known = self._known.get(arrival.application_id)
        if known is not None:
            return Standing(virtual_time, known.record)
        record = provisional_record(arrival, KvTokenTime(self._settings.default_cost), virtual_time, now)
        return Standing(virtual_time, record)

    def _placed(self, local: LocalApplication, standing: Standing) -> None:
        local.record = standing.application
        if self._known.get(standing.application.application_id) is local:  # not forgotten while the store was asked
            self._on_ranked(local)
        self._changed(local)

    # --- tenants with shares ----------------------------------------------------------------------------------------

    def _changed(self, local: LocalApplication) -> None:
        if self._order is not None:
            self._order.changed(local.record.tenant)

    def _live_of(self, tenants: Collection[str]) -> list[ApplicationId]:
        return [i for i, local in self._known.items() if local.num_calls and local.record.tenant in tenants]

    def _moved(self, application_id: ApplicationId, finish_time: VirtualTime) -> None:
        local = self._known.get(application_id)
        if local is not None and finish_time != local.record.virtual_finish_time:
            local.record = replace(local.record, virtual_finish_time=finish_time)
            self._on_ranked(local)

    # --- calls of an application ------------------------------------------------------------------------------------

    def call_began(self, local: LocalApplication, call_id: str, prompt_tokens: Tokens, *, is_final: bool) -> None:
        if local.num_calls == 0 and local.is_closing:
            local.is_closing = False
        if local.num_calls == 0:
            self._changed(local)  # nobody has asked where it stands while it had none
        local.num_calls += 1
        local.course.call_began(call_id, prompt_tokens)
        local.is_closing = local.is_closing or is_final

    def charge(self, application_id: ApplicationId, service: KvTokenTime) -> None:
        """An ended call's cost. Goes to the store with the next sweep, or when the application closes."""
        local = self._known.get(application_id)
        if local is not None and service > 0:
            local.unsent_service += service
            self._on_ranked(local)

    def call_settled(self, application_id: ApplicationId, call_id: str, *, was_dispatched: bool = True) -> None:
        """A call has ended and its cost is known (or never will be)."""
        local = self._known.get(application_id)
        if local is None:
            return
        local.num_calls -= 1
        if was_dispatched:
            local.course.call_ended(call_id)
        else:
            local.course.call_left(call_id)
        local.asked_at = local.last_end_at = self._now()
        if local.is_closing and local.num_calls == 0:
            task = asyncio.create_task(self._settle(local))
            self._closing_tasks.add(task)
            task.add_done_callback(self._closing_tasks.discard)

    # --- closing ----------------------------------------------------------------------------------------------------

    async def close(self, application_id: ApplicationId, patience_s: float) -> ApplicationRecord:
        """Settle it at its measured cost: now, or, if calls are on their way, when the last of them has ended and the
        engine has said what it held. Answers after `patience_s` at the latest; it is settled all the same."""
        local = self._known.get(application_id)
        if local is None:
            try:
                record = await self.record(application_id)
            except ApplicationNotFound:
                if application_id in self._recently_closed:
                    raise ApplicationClosed("This application is closed already.", param="id") from None
                raise
            now = self._now()
            course = Course(Prediction(record.predicted_cost, "elsewhere"))
            local = LocalApplication(record, course, now, record.arrived_at, now)
            self._known[application_id] = local
        local.is_closing = True
        if local.num_calls == 0:
            await self._settle(local)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await local.settled.wait()
        return local.record

    async def _settle(self, local: LocalApplication) -> None:
        application_id = local.record.application_id
        if local.is_settling or self._known.get(application_id) is not local:
            return
        local.is_settling = True
        try:
            if await self._charges.send([local]):
                await self._enter_anew(local)
            measured = local.service
            await self._store.settle(application_id, measured)
        except StoreUnavailable:
            # It stays in the store until its idle time has passed there; its unsent charge is lost with it.
            measured = local.service
        local.record, local.unsent_service = replace(local.record, service=measured), 0.0
        self._changed(local)
        self._count_closed(local, measured)
        local.is_settling = False
        local.settled.set()
        if local.num_calls == 0:
            self._forget(local)
        else:
            await self._reopen(local)

    async def _reopen(self, local: LocalApplication) -> None:
        """Calls came while it was being settled: a new episode of the same id."""
        now = self._now()
        local.is_closing = False
        local.settled.clear()
        local.unsent_service = 0.0
        local.first_arrival_at = now
        local.course = Course(Prediction(local.record.predicted_cost, "elsewhere"))
        with suppress(StoreUnavailable):
            await self._enter_anew(local)

    def _count_closed(self, local: LocalApplication, measured: KvTokenTime) -> None:
        if measured <= 0:
            return
        first, kind = local.course.first, local.record.kind
        self._metrics.prediction(first, measured, kind)
        self._metrics.application_closed(local.last_end_at - local.first_arrival_at, kind)
        features = self._predictor.kept(first)
        if features is not None:
            self._on_closed(local.course.closed(kind, measured, features, self._now()), first)

    def _forget(self, local: LocalApplication) -> None:
        application_id = local.record.application_id
        self._known.pop(application_id, None)
        self._recently_closed[application_id] = None
        if len(self._recently_closed) > _CLOSED_REMEMBERED:
            self._recently_closed.pop(next(iter(self._recently_closed)))
        self._on_forgotten(application_id)

    # --- the sweep --------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Send charges, keep the live ones alive, close the idle ones, and find out whether the store forgot."""
        self._forget_idle()
        try:
            found = await self._store.revived()
            if found is not Return.WAS_HERE:
                await self._enter_all_anew(lost_memory=found is Return.FORGOT)
            await self._rounds.send_charges()
            await self._rounds.look_at_costs_again()
            await self._rounds.touch()
            expired = await self._store.expire(self._now() - self._settings.idle_close_s)
        except StoreUnavailable:
            return
        for application_id in expired:
            self._expired(application_id)

    def _forget_idle(self) -> None:
        """What another gateway's sweep closed, or what the store never knew, must not stay here for ever."""
        long_ago = self._now() - 2 * self._settings.idle_close_s
        for application_id in [i for i, local in self._known.items() if local.asked_at < long_ago]:
            self._expired(application_id)

    def _expired(self, application_id: ApplicationId) -> None:
        local = self._known.get(application_id)
        if local is not None and local.num_calls == 0 and not local.is_settling:
            self._count_closed(local, local.service)
            self._forget(local)

    async def _enter_anew(self, local: LocalApplication) -> None:
        record = local.record
        arrival = Arrival(
            application_id=record.application_id,
            tenant=record.tenant,
            kind=record.kind,
            cost=remaining_cost(record.predicted_cost, record.service),
            weight=record.weight,
            parent=record.parent,
            tenant_weight=local.tenant_weight,
        )
        # An idle one is no younger for it: stores that come and go must not keep applications open.
        seen_at = self._now() if local.num_calls else local.asked_at
        standing = await self._store.arrive(arrival, seen_at)
        local.is_provisional = False
        self._placed(local, standing)

    async def _enter_all_anew(self, *, lost_memory: bool) -> None:
        """The store is back: what it must know again, in the order that it had."""
        missing = [local for local in self._known.values() if lost_memory or local.num_calls or local.is_provisional]
        in_order = sorted(missing, key=lambda local: local.record.virtual_finish_time)
        for local in in_order:
            if self._known.get(local.record.application_id) is local:
                await self._enter_anew(local)
        log.warning(
            "state store is back%s: %d applications entered again",
            " without its memory" if lost_memory else "",
            len(in_order),
        )

    # --- readings ---------------------------------------------------------------------------------------------------

    async def report(self, source: str, incarnation: int, counter: KvTokenTime) -> None:
        """An engine's counter moves the clock; a store that is away misses nothing, the counter is monotone."""
        with suppress(StoreUnavailable):
            await self._store.report(source, incarnation, counter)

    async def record(self, application_id: ApplicationId) -> ApplicationRecord:
        """Raises ApplicationNotFound, and StoreUnavailable for one that is not known here."""
        local = self._known.get(application_id)
        if local is not None:
            return local.record
        standing = await self._store.get(application_id)
        if standing is None:
            raise ApplicationNotFound("No such application.", param="id")
        return standing.application

    async def snapshot(self) -> Snapshot:
        """The shared state; what this gateway knows of it while the store is away."""
        records = (local.record for local in self._known.values())
        return await self._store.snapshot(self._settings.max_listed, records)
