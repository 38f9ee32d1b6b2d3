"""Keeps one engine's state current: reads it, advances the clock by its counter, settles calls by its records.

From an engine without our patch there are no records and no counter: ended calls are charged by formula from their
usage (`gateway.fairness.cost`), and this gateway's sum of them moves the clock in the counter's place.
"""

import asyncio
import logging
from collections.abc import Callable

from gateway.errors import EngineError, EngineTimeout
from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.metrics import Metrics
from gateway.ports import Engine, EngineMode, EngineState
from gateway.scheduling.accounts import Accounts, Charge
from gateway.scheduling.applications import Applications
from gateway.scheduling.events import EngineLost, EngineReported, Event
from gateway.scheduling.fairness_watch import LongestStay
from gateway.settings import EngineSettings

log = logging.getLogger(__name__)

_PROBE_INTERVAL_S = 10.0
"""Models come and go (LoRA adapters); an engine is asked for them this often."""

_RATE_SMOOTHING_S = 10.0
"""Time constant of the service rate: long enough to see past one call, short enough to follow a load."""


class EngineFeed:
    """`run` goes on for ever; the rest is called by the dispatcher."""

    def __init__(
        self,
        engine: Engine,
        settings: EngineSettings,
        applications: Applications,
        metrics: Metrics,
        now: Callable[[], float],
        tell: Callable[[Event], None],
        *,
        gateway_id: str,
        stay: LongestStay | None = None,
        on_charged: Callable[[Charge], None] = lambda _: None,
    ) -> None:
        """`stay`: hears how long answers were, where the engine keeps records."""
        self.engine = engine
        self.mode: EngineMode | None = None
        """None while it does not answer."""
        self.state: EngineState | None = None
        """As last read; None while it does not answer."""
        self.delivered = 0.0
        """Service since this feed began, to everybody where the engine tells (token·iterations)."""
        self.service_rate = 0.0
        """Recent service, token·iterations a second."""
        self._settings = settings
        self._applications = applications
        self._metrics = metrics
        self._now = now
        self._tell = tell
        self._stay = stay or LongestStay()
        self._on_charged = on_charged
        self._own_source = f"{engine.name}@{gateway_id}"
        self._own_incarnation = int(now() * 1e9)
        self._own_service = KvTokenTime(0.0)
        self._accounts = Accounts()
        self._ranks: dict[ApplicationId, float] = {}
        self._ranks_changed = asyncio.Event()
        self._call_sent = asyncio.Event()
        self._is_patched = False
        self._incarnation = 0
        self._since = 0
        self._probed_at = float("-inf")
        self._last_reading: tuple[float, KvTokenTime] | None = None
        self._last_reported: tuple[int, KvTokenTime] | None = None
        self._shown: EngineState | None = None
        """The latest reading, also of an engine that is lost: its counters go on from there."""

    @property
    def capacity_kv_tokens(self) -> int:
        """0 while it does not answer."""
        return self.state.capacity_kv_tokens if self.state is not None else 0

    # --- from the dispatcher ----------------------------------------------------------------------------------------

    def call_sent(self, call_id: str, application_id: ApplicationId) -> None:
        self._accounts.sent(call_id, application_id)
        self._call_sent.set()

    def call_ended(self, call_id: str, estimate: KvTokenTime) -> None:
        charge = self._accounts.ended(call_id, estimate, self._now(), expects_record=self._is_patched)
        if charge is not None:
            self._own_service = KvTokenTime(self._own_service + charge.service)
            self._charge(charge)

    def rerank(self, application_id: ApplicationId, rank: float) -> None:
        self._ranks[application_id] = rank
        self._ranks_changed.set()

    # --- the loops --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_for_ever())
            group.create_task(self._rerank_for_ever())

    async def _read_for_ever(self) -> None:
        while True:
            self._call_sent.clear()
            try:
                await self.read()
            except EngineError as error:
                self._lost(error)
            await self._pause()

    async def _pause(self) -> None:
        """Short while calls are in flight; else until one is sent, or the idle interval has passed."""
        await asyncio.sleep(self._settings.poll_interval_s)
        if not self._accounts:
            try:
                async with asyncio.timeout(self._settings.idle_poll_interval_s):
                    await self._call_sent.wait()
            except TimeoutError:
                pass

    async def _rerank_for_ever(self) -> None:
        while True:
            await self._ranks_changed.wait()
            self._ranks_changed.clear()
            ranks, self._ranks = self._ranks, {}
            try:
                await self.engine.rerank(ranks)
            except EngineError as error:
                # What is in the engine keeps its old order; what comes after has the new one.
                log.warning("engine %s was not re-ranked: %s", self.engine.name, error.message)

    # --- one reading ------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        try:
            async with asyncio.timeout(2 * self._settings.state_timeout_s):
                mode = await self._probe()
                as_of = self._now()
                state = await self.engine.read_state(self._since)
        except TimeoutError as error:
            raise EngineTimeout("its state was not read in time") from error
        self._take_records(state, as_of)
        self._show(state)
        self._tell(EngineReported(self.engine.name, as_of, mode.models, state))
        await self._report_service(state, as_of)

    async def _probe(self) -> EngineMode:
        now = self._now()
        if self.mode is not None and now - self._probed_at < _PROBE_INTERVAL_S:
            return self.mode
        mode = await self.engine.probe()
        if mode != self.mode:
            self._metrics.engine_mode(self.engine.name, mode.name)
            log.info("engine %s: mode %s, models %s", self.engine.name, mode.name, ", ".join(mode.models))
        self.mode, self._probed_at = mode, now
        self._is_patched = mode.name == "patched"
        return mode

    def _lost(self, error: EngineError) -> None:
        if self.mode is not None:
            log.warning("engine %s is lost: %s", self.engine.name, error.message)
        self.mode = None
        self.state = None
        self._metrics.engine_up(self.engine.name, False)
        self._metrics.engine_mode(self.engine.name, None)
        self._tell(EngineLost(self.engine.name))

    def _show(self, state: EngineState) -> None:
        self.state = state
        self._metrics.engine_up(self.engine.name, True)
        self._metrics.engine_state(self.engine.name, state)
        before, self._shown = self._shown, state
        if before is not None and before.incarnation == state.incarnation:
            self._metrics.engine_counted(
                self.engine.name,
                preemptions=max(0, state.preemptions - before.preemptions),
                passed=max(0, state.passed - before.passed),
            )

    def _take_records(self, state: EngineState, as_of: float) -> None:
        records = state.finished
        if state.incarnation != self._incarnation:
            if self._incarnation:
                log.warning("engine %s was restarted", self.engine.name)
                self._accounts.orphan()
            # These records were asked for by another engine's number: ask again from the start.
            self._incarnation, self._since, records = state.incarnation, 0, ()
        else:
            self._since = state.next_sequence
        for record in records:
            self._stay.note(record.output_tokens, as_of)
        for charge in self._accounts.read(records, as_of):
            self._charge(charge)

    def _charge(self, charge: Charge) -> None:
        self._on_charged(charge)
        self._applications.charge(charge.application_id, charge.service)
        if charge.is_last:
            self._applications.call_settled(charge.application_id, charge.call_id)

    async def _report_service(self, state: EngineState, as_of: float) -> None:
        if state.service is None:
            source, incarnation, counter = self._own_source, self._own_incarnation, self._own_service
        else:
            source, incarnation, counter = self.engine.name, state.incarnation, state.service
        self._measure_rate(counter, as_of, is_everybodys=state.service is not None)
        if self._last_reported != (incarnation, counter):
            self._last_reported = (incarnation, counter)
            await self._applications.report(source, incarnation, counter)

    def _measure_rate(self, counter: KvTokenTime, as_of: float, *, is_everybodys: bool) -> None:
        if self._last_reading is not None and counter >= self._last_reading[1] and as_of > self._last_reading[0]:
            elapsed_s, gained = as_of - self._last_reading[0], counter - self._last_reading[1]
            self.delivered += gained
            self._metrics.service(self.engine.name, gained, is_everybodys=is_everybodys)
            share = min(1.0, elapsed_s / _RATE_SMOOTHING_S)
            self.service_rate += share * (gained / elapsed_s - self.service_rate)
        self._last_reading = (as_of, counter)
