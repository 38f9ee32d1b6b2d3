"""One call from its arrival to its last byte, as it is told when it is over: to the log, and to a trace.

Nothing is written down on the way but a few times. A report is built at the end, and only where somebody wants it.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from gateway.errors import ClientDisconnected, GatewayError
from gateway.fairness.units import Tokens, VirtualTime
from gateway.identity import Identity
from gateway.scheduling.model import Outcome, Usage
from gateway.values import value

EngineHeaders = tuple[tuple[bytes, bytes], ...]


@value
class Attempt:
    """One way through the queue and to an engine; a call that was made anew has two. Times are seconds on the
    dispatcher's clock."""

    call_id: str
    model: str
    kind: str
    max_tokens: Tokens | None
    arrived_at: float
    dispatched_at: float | None
    """None: never. Then there is no engine, rank or virtual finish time either."""
    first_byte_at: float | None
    ended_at: float
    engine: str | None
    rank: float | None
    virtual_finish_time: VirtualTime | None
    outcome: Outcome
    code: str | None
    """Of the error that ended it."""
    usage: Usage | None
    text: str
    """What is asked; "" where it was not read."""

    @property
    def queue_s(self) -> float:
        return (self.ended_at if self.dispatched_at is None else self.dispatched_at) - self.arrived_at


@value
class CallReport:
    request_id: str
    route: str
    """The engine's, one of a few."""
    began_at: float
    """When its request came; on the same clock as its attempts."""
    ended_at: float
    ended_ns: int
    """The same as the time of day."""
    tenant_class: str | None
    """None: its key was refused."""
    identity: Identity | None
    """None: it ended before that was known."""
    status: int
    """HTTP's; 0 where nothing was answered."""
    code: str | None
    """Of the error that ended it; None where the engine answered to the end."""
    attempts: tuple[Attempt, ...]

    @property
    def outcome(self) -> Outcome:
        if self.attempts:
            return self.attempts[-1].outcome
        if self.code == ClientDisconnected.code:
            return Outcome.CANCELLED
        return Outcome.FAILED if self.code == GatewayError.code else Outcome.REJECTED

    @property
    def queue_s(self) -> float:
        return sum([attempt.queue_s for attempt in self.attempts])

    @property
    def first_byte_s(self) -> float | None:
        """From the request's arrival."""
        for attempt in self.attempts:
            if attempt.first_byte_at is not None:
                return attempt.first_byte_at - self.began_at
        return None


def code_of(error: BaseException) -> str:
    """What is cancelled was left by its client, or by a gateway that ends."""
    if isinstance(error, GatewayError):
        return error.code
    return (ClientDisconnected if isinstance(error, asyncio.CancelledError) else GatewayError).code


class Attempted(Protocol):
    """Whoever can tell of an attempt."""

    def attempt(self) -> Attempt | None:
        """None while it is not over."""
        ...


class CallTrace(Protocol):
    """The trace of one call."""

    @property
    def trace_id(self) -> str: ...

    @property
    def is_sampled(self) -> bool:
        """Wants to be told the end."""
        ...

    def onward(self) -> EngineHeaders:
        """What an engine is sent, so that it goes on under a span of ours. Once for each attempt, before it."""
        ...

    def ended(self, report: CallReport) -> None: ...


class Tracer(Protocol):
    """The port of `gateway.tracing`. Never waits for anything."""

    @property
    def records_prompts(self) -> bool: ...

    def begin(self, headers: Mapping[str, str], route: str) -> CallTrace:
        """`headers`: of the request, by name in lower case."""
        ...

    async def run(self) -> None:
        """Sends what has ended: until cancelled."""
        ...

    async def aclose(self) -> None:
        """Sends what is left, if that does not take long."""
        ...
