"""One call's way through the dispatcher: entered once, left once, in exactly one outcome."""

import asyncio
from types import TracebackType
from typing import Protocol

from gateway import errors
from gateway.call_report import Attempt, code_of
from gateway.scheduling.estimates import Expected
from gateway.scheduling.lease import Lease, TryElsewhere
from gateway.scheduling.local_application import LocalApplication
from gateway.scheduling.model import CallRequest, Outcome
from gateway.scheduling.refusals import Refused


class Way(Protocol):
    """What a passage needs of the dispatcher."""

    async def dispatched(self, passage: "Passage") -> Lease:
        """Waits for the call's turn. Raises Refused, and what `gateway.errors` lists."""
        ...

    def refused(self, refused: Refused, tenant: str) -> errors.GatewayError:
        """Counts it, and says what its client is told."""
        ...

    def rejected(self, error: errors.Rejected) -> None: ...

    def can_go_elsewhere(self, request: CallRequest, lease: Lease) -> bool: ...

    def finish(
        self, request: CallRequest, outcome: Outcome, lease: Lease | None, local: LocalApplication | None
    ) -> float:
        """Ends it; when that was."""
        ...


class Passage:
    """One call's way through: every call leaves it once."""

    __slots__ = (
        "_code", "_ended_at", "_lease", "_outcome", "_way", "arrived_at", "expected", "local", "request",
    )  # fmt: skip

    def __init__(self, way: Way, request: CallRequest, expected: Expected, arrived_at: float) -> None:
        self.request = request
        self.expected = expected
        self.arrived_at = arrived_at
        self.local: LocalApplication | None = None
        """Its application, once that is known."""
        self._way = way
        self._lease: Lease | None = None
        self._outcome: Outcome | None = None
        self._code: str | None = None

    def attempt(self) -> Attempt | None:
        """As it is told; None while it is not over."""
        request, lease = self.request, self._lease
        if self._outcome is None:
            return None
        return Attempt(
            call_id=request.call_id,
            model=request.model,
            kind=request.identity.kind if self.local is None else self.local.record.kind,
            max_tokens=request.max_tokens,
            arrived_at=self.arrived_at,
            dispatched_at=None if lease is None else self.arrived_at + lease.queue_s,
            first_byte_at=None if lease is None else lease.first_byte_at,
            ended_at=self._ended_at,
            engine=None if lease is None else lease.engine.name,
            rank=None if lease is None else lease.rank,
            virtual_finish_time=None if lease is None else lease.virtual_finish_time,
            outcome=self._outcome,
            code=self._code,
            usage=None if lease is None else lease.usage,
            text=request.text,
        )

    async def __aenter__(self) -> Lease:
        try:
            self._lease = await self._way.dispatched(self)
        except BaseException as error:
            self._leave(error)
            raise
        return self._lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        """No await: it cannot be cut short. Raises what is to be told instead of `error`, where that is our own."""
        way, request, lease = self._way, self.request, self._lease
        told: Exception | None = None
        match error:
            case None:
                outcome = Outcome.COMPLETED
            case Refused():
                outcome = error.end.outcome
                told = way.refused(error, request.identity.tenant)
            case asyncio.CancelledError() | GeneratorExit() | errors.ClientDisconnected():
                outcome = Outcome.CANCELLED
            case errors.Rejected():
                outcome = Outcome.REJECTED
                way.rejected(error)
            case errors.EngineUnreachable() if lease is not None and way.can_go_elsewhere(request, lease):
                outcome = Outcome.RETRIED
                told = TryElsewhere(lease.engine.name)
            case _:
                outcome = Outcome.FAILED
        self._ended_at = way.finish(request, outcome, lease, self.local)
        self._outcome = outcome
        if error is not None:
            self._code = code_of(told if isinstance(told, errors.GatewayError) else error)
        if told is not None:
            try:
                raise told from (None if isinstance(error, Refused) else error)
            finally:
                del told  # whose traceback leads back to here
