"""One engine: its mode, its state, its answers."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens
from gateway.values import value


@value
class FinishedCall:
    """The engine's own account of a call that ended there, in whatever way."""

    sequence: int
    call_id: str
    service: KvTokenTime
    """KV memory really held over iterations; a block shared by n calls counts 1/n to each."""
    prompt_tokens: Tokens
    cached_tokens: Tokens
    output_tokens: Tokens
    preemptions: int


@value
class EngineState:
    """One reading of an engine. An engine without our patch reports no records, and `service` None."""

    incarnation: int
    """Grows with every start of the engine (nanoseconds at its start)."""
    service: KvTokenTime | None
    """KV token-iterations delivered since its start; monotone within one incarnation."""
    capacity_kv_tokens: Tokens
    free_kv_tokens: Tokens
    """Unheld tokens, those kept only as prefix cache included."""
    max_num_seqs: int
    num_running: int
    num_waiting: int
    waiting_calls: frozenset[str] | None
    """Ids of our calls that wait inside the engine (bounded); None where the engine cannot tell."""
    preemptions: int
    passed: int = 0
    """Calls that went past one that did not fit, where the engine lets them; since its start, as `preemptions`."""
    finished: tuple[FinishedCall, ...] = ()
    next_sequence: int = 0


@value
class EngineMode:
    """How far this engine follows our order."""

    name: str
    """`patched` (order, live re-ranking, exact accounting), `priority` (stock vLLM with --scheduling-policy priority:
    order only), or `unordered` (stock vLLM with fcfs: only the gateway's queue is ordered)."""
    models: tuple[str, ...]


@value
class EngineRequest:
    """One HTTP request to an engine. `headers` (names in lower case) already lacks what steers the engine; the adapter
    sets those."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    call_id: str
    application_id: ApplicationId
    rank: float


class EngineResponse(Protocol):
    """An answer that has begun: status and headers are here, the body is still to be read."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises EngineUnreachable (reset) or EngineTimeout (silent for too long)."""
        ...

    async def aclose(self) -> None:
        """Hang up; an unfinished call is aborted in the engine."""
        ...


class Engine(Protocol):
    """One vLLM server."""

    name: str
    """Fit for a metric label: host:port."""

    async def probe(self) -> EngineMode:
        """Ask what it serves and how far it follows us. Raises EngineError."""
        ...

    async def send(self, request: EngineRequest) -> EngineResponse:
        """Raises EngineUnreachable or EngineTimeout before the answer has begun."""
        ...

    async def read_state(self, since: int) -> EngineState:
        """Its state and the finished records from sequence number `since` on. Raises EngineError."""
        ...

    async def rerank(self, ranks: Mapping[ApplicationId, float]) -> None:
        """Re-order what these applications have in the engine. No effect on a stock engine. Raises EngineError."""
        ...

    async def aclose(self) -> None: ...
