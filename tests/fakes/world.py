"""A deterministic world around the real dispatcher: a clock moved by hand, a scripted engine, a store that can fail."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import uuid4

from gateway.composition import make_toolkit
from gateway.errors import EngineUnreachable, StoreUnavailable
from gateway.fairness.policies import PolicyName
from gateway.fairness.shares import SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens
from gateway.identity import Identity, KindRegistry, RequestFacts, identify
from gateway.learning.trained import TrainedPredictor
from gateway.metrics import Metrics
from gateway.ports import ClosedApplication, EngineMode, EngineRequest, EngineResponse, EngineState, FinishedCall
from gateway.scheduling.dispatcher import Dispatcher, Lease
from gateway.scheduling.events import TimePassed
from gateway.scheduling.model import CallRequest, Usage
from gateway.scheduling.tenant_room import TermsOf, no_limits
from gateway.settings import ApplicationSettings, EngineSettings, SchedulingSettings, Settings
from gateway.stores.memory import MemoryStore


class FailingStore:
    """A real memory store behind a switch; every operation yields once, as a network would."""

    def __init__(self, shares: SharesName = "application") -> None:
        self._shares = shares
        self.inner = MemoryStore(shares)
        self.is_down = False
        self.asked: list[str] = []
        """Operations, in order."""
        self.late: dict[str, asyncio.Event] = {}
        """By operation: the next one of it is under way until this is set."""
        self.late_answers: dict[str, asyncio.Event] = {}
        """By operation: the next one of it is done, and its answer under way until this is set."""

    def flush(self) -> None:
        self.inner = MemoryStore(self._shares)

    def __getattr__(self, name: str) -> Any:
        async def operation(*args: Any) -> Any:
            self.asked.append(name)
            await asyncio.sleep(0)
            if name in self.late:
                await self.late.pop(name).wait()
            if self.is_down:
                raise StoreUnavailable("away, as the test wants it")
            answer = await getattr(self.inner, name)(*args)
            if name in self.late_answers:
                await self.late_answers.pop(name).wait()
            return answer

        return operation


class ScriptedEngine:
    """The `Engine` port: holds what the world says it holds, and keeps records of what ended."""

    def __init__(self, name: str, capacity: int = 1000, mode: str = "patched") -> None:
        self.name = name
        self.capacity = capacity
        self.mode = mode
        self.is_down = False
        self.incarnation = 1
        self.service = 0.0
        self.preemptions = 0
        self.passed = 0
        self.holding: dict[str, int] = {}
        self.records: list[FinishedCall] = []
        self.reranked: list[dict[ApplicationId, float]] = []

    def restart(self) -> None:
        self.incarnation += 1
        self.service = 0.0
        self.preemptions = self.passed = 0
        self.holding.clear()
        self.records.clear()

    def hold(self, call_id: str, tokens: int = 100) -> None:
        self.holding[call_id] = tokens

    def finish(self, call_id: str, service: float) -> None:
        if self.holding.pop(call_id, None) is not None:
            self.service += service
            self.records.append(
                FinishedCall(
                    len(self.records), call_id, KvTokenTime(service), Tokens(100), Tokens(0), Tokens(10), preemptions=0
                )
            )

    async def probe(self) -> EngineMode:
        await self._answer()
        return EngineMode(self.mode, ("m",))

    async def read_state(self, since: int) -> EngineState:
        await self._answer()
        is_patched = self.mode == "patched"
        running, waiting = self._split()
        return EngineState(
            incarnation=self.incarnation,
            service=KvTokenTime(self.service) if is_patched else None,
            capacity_kv_tokens=Tokens(self.capacity),
            free_kv_tokens=Tokens(self.capacity - sum(self.holding[call_id] for call_id in running)),
            max_num_seqs=64,
            num_running=len(running),
            num_waiting=len(waiting),
            waiting_calls=frozenset(waiting) if is_patched else None,
            preemptions=self.preemptions,
            passed=self.passed,
            finished=tuple(self.records[since:]) if is_patched else (),
            next_sequence=len(self.records) if is_patched else 0,
        )

    def _split(self) -> tuple[list[str], list[str]]:
        """(running, waiting): as many as fit, in the order they came."""
        running: list[str] = []
        waiting: list[str] = []
        free = self.capacity
        for call_id, tokens in self.holding.items():
            if tokens <= free and not waiting:
                running.append(call_id)
                free -= tokens
            else:
                waiting.append(call_id)
        return running, waiting

    async def send(self, request: EngineRequest) -> EngineResponse:
        raise NotImplementedError("HTTP sends; this world has none")

    async def rerank(self, ranks: Mapping[ApplicationId, float]) -> None:
        await self._answer()
        self.reranked.append(dict(ranks))

    async def aclose(self) -> None:
        return None

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_down:
            raise EngineUnreachable("down, as the test wants it")


class World:
    def __init__(
        self,
        *,
        policy: PolicyName = "justitia",
        modes: Collection[str] = ("patched",),
        capacity: int = 1000,
        beside: "World | None" = None,
        terms_of: TermsOf = no_limits,
        **scheduling: Any,
    ) -> None:
        """`beside`: another gateway on the same store and engines."""
        self.time = 1000.0
        self.clients: list[Client] = []
        self.store = FailingStore(scheduling.get("shares", "application")) if beside is None else beside.store
        self.engines = (
            [ScriptedEngine(f"e{i}", capacity, mode) for i, mode in enumerate(modes)]
            if beside is None
            else beside.engines
        )
        self.settings = Settings(
            engines=EngineSettings(urls=()),
            scheduling=SchedulingSettings(policy=policy, dispatch_margin_calls=1, **scheduling),
            applications=ApplicationSettings(idle_close_s=60.0, default_cost=1000.0),
        )
        kinds = KindRegistry()
        self.metrics = Metrics(policy, kinds)
        self.predictor = TrainedPredictor(make_toolkit(), KvTokenTime(1000.0), keeps_words=False)
        self.dispatcher = Dispatcher(
            self.settings,
            self.store,
            self.engines,
            self.predictor,
            self.metrics,
            kinds,
            lambda: self.time,
            lambda closed, _: self.closed.append(closed),
            terms_of=terms_of,
        )
        self.closed: list[ClosedApplication] = []

    # --- clients ----------------------------------------------------------------------------------------------------

    def identity(
        self, application: str, *, final: bool = False, kind: str = "k", tenant: str = "anonymous"
    ) -> Identity:
        headers = [("x-justitia-application", application), ("x-justitia-kind", kind)]
        if final:
            headers.append(("x-justitia-final", "1"))
        return identify(RequestFacts("/v1/chat/completions", headers, f"call-{uuid4().hex}"), tenant)

    def request(
        self,
        application: str,
        *,
        tokens: int = 100,
        cost: float | None = None,
        final: bool = False,
        tenant: str = "anonymous",
    ) -> CallRequest:
        return CallRequest(
            call_id=f"call-{uuid4().hex}",
            identity=self.identity(application, final=final, tenant=tenant),
            model="m",
            prompt_tokens_hint=Tokens(tokens),
            max_tokens=Tokens(10),
            body_bytes=400,
            declared_cost=None if cost is None else KvTokenTime(cost),
        )

    def start(self, request: CallRequest) -> "Client":
        client = Client(self, request)
        self.clients.append(client)  # the loop holds tasks weakly
        return client

    # --- the loops, by hand -----------------------------------------------------------------------------------------

    async def read(self) -> None:
        for feed in self.dispatcher._feeds.values():
            try:
                await feed.read()
            except EngineUnreachable as error:
                feed._lost(error)
        await self.settle()

    async def sweep(self) -> None:
        await self.dispatcher._applications.sweep()
        await self.settle()

    async def pass_time(self, seconds: float) -> None:
        self.time += seconds
        self.dispatcher._turnstile.tell(TimePassed())
        await self.settle()

    async def settle(self, turns: int = 30) -> None:
        """Let everything that can go on go on."""
        for _ in range(turns):
            await asyncio.sleep(0)

    def outcomes(self) -> dict[str, int]:
        """Calls by outcome, from the metric itself."""
        counts: dict[str, int] = {}
        for metric in self.metrics.registry.collect():
            for sample in metric.samples:
                if sample.name == "justitia_calls_total":
                    outcome = sample.labels["outcome"]
                    counts[outcome] = counts.get(outcome, 0) + int(sample.value)
        return {outcome: count for outcome, count in counts.items() if count}

    def gauge(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"justitia_{name}", {"policy": self.settings.scheduling.policy})
        assert value is not None
        return value


class Client:
    """One call through the dispatcher, in a task; the test says how it goes on."""

    def __init__(self, world: World, request: CallRequest) -> None:
        self.request = request
        self.lease: Lease | None = None
        self.error: BaseException | None = None
        self._world = world
        self._end: asyncio.Future[Callable[[Lease], None]] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with self._world.dispatcher.call(self.request) as lease:
                self.lease = lease
                for engine in self._world.engines:
                    if engine.name == lease.engine.name:
                        engine.hold(self.request.call_id)
                (await self._end)(lease)
        except Exception as error:  # noqa: BLE001 - kept for the test to look at
            self.error = error

    @property
    def is_over(self) -> bool:
        return self.task.done()

    def complete(self, *, service: float = 1000.0, usage: bool = True) -> None:
        def end(lease: Lease) -> None:
            lease.first_byte()
            lease.usage = Usage(Tokens(100), Tokens(10)) if usage else None
            self._leave_engine(service)

        self._finish(end)

    def fail(self) -> None:
        def end(lease: Lease) -> None:
            self._leave_engine(0.0)
            raise EngineUnreachable("reset, as the test wants it")

        self._finish(end)

    def leave(self) -> None:
        """The client hangs up, wherever it is."""
        self._leave_engine(10.0)
        self.task.cancel()

    def _finish(self, end: Callable[[Lease], None]) -> None:
        if not self._end.done():
            self._end.set_result(end)

    def _leave_engine(self, service: float) -> None:
        for engine in self._world.engines:
            engine.finish(self.request.call_id, service)
