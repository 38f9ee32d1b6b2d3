"""Who looks at calls as they begin and end: a tracer, a log, both. Without either there is no watch at all.

What is to be told of a call is noted when it ends, and told a moment later together with what others left: code that
runs for a score of calls in a row costs a fraction of what it costs for each of them between other work. A call that
did not end well is told at once, with all that is noted by then.
"""

import asyncio
import time
from collections.abc import Callable

from gateway.call_log import CallLog
from gateway.call_report import CallReport, CallTrace, Tracer, code_of
from gateway.errors import ClientDisconnected, GatewayError
from gateway.http.exchange import Exchange
from gateway.trace_context import read_traceparent

_MAX_NOTED = 32
"""Calls; to tell of so many takes a millisecond or less."""
_NOTED_S = 0.05
"""How late a call is told at most."""


class CallWatch:
    """`now`: the dispatcher's clock; `class_of`: a tenant's class."""

    def __init__(
        self, tracer: Tracer | None, log: CallLog | None, now: Callable[[], float], class_of: Callable[[str], str]
    ) -> None:
        self._tracer = tracer
        self._log = log
        self._now = now
        self._class_of = class_of
        self._noted: list[tuple[CallReport, CallTrace | None, str | None, bool]] = []
        """(report, its trace if that wants it, the trace's id, is it logged)"""
        self._telling: asyncio.TimerHandle | None = None

    @property
    def reads_prompts(self) -> bool:
        return self._tracer is not None and self._tracer.records_prompts

    def begin(self, exchange: Exchange, route: str) -> None:
        if self._tracer is not None:
            exchange.trace = self._tracer.begin(exchange.headers, route)

    def end(self, exchange: Exchange, route: str, error: BaseException | None) -> None:
        trace = exchange.trace
        is_traced = trace is not None and trace.is_sampled
        is_well = _is_well(exchange, error)
        is_logged = self._log is not None and self._log.wants(is_well=is_well)
        if not (is_traced or is_logged):
            return
        sent = read_traceparent(exchange.headers.get("traceparent")) if trace is None else trace
        trace_id = None if sent is None else sent.trace_id
        self._noted.append((self._report(exchange, route, error), trace if is_traced else None, trace_id, is_logged))
        if not is_well or len(self._noted) >= _MAX_NOTED:
            self.tell()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_NOTED_S, self.tell)

    def tell(self) -> None:
        """All that is noted."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        noted, self._noted = self._noted, []
        for report, trace, trace_id, is_logged in noted:
            if trace is not None:
                trace.ended(report)
            if is_logged and self._log is not None:
                self._log.write(report, trace_id)

    def _report(self, exchange: Exchange, route: str, error: BaseException | None) -> CallReport:
        ended_at = self._now()
        attempts = tuple(attempt for one in exchange.attempts if (attempt := one.attempt()) is not None)
        return CallReport(
            request_id=exchange.request_id,
            route=route,
            began_at=ended_at - exchange.elapsed_s(),
            ended_at=ended_at,
            ended_ns=time.time_ns(),
            tenant_class=None if exchange.tenant is None else self._class_of(exchange.tenant),
            identity=exchange.identity,
            status=exchange.status or (error.status if isinstance(error, GatewayError) else 0),
            code=None if error is None else code_of(error),
            attempts=attempts,
        )


def _is_well(exchange: Exchange, error: BaseException | None) -> bool:
    """A client that leaves is well, too."""
    if error is not None:
        return isinstance(error, ClientDisconnected | asyncio.CancelledError)
    return len(exchange.attempts) == 1 and exchange.status < 500
