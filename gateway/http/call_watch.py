"""Who looks at calls as they begin and end: a tracer, a log, both. Without either there is no watch at all.

What is to be told of a call is noted when it ends, and told a moment later together with what others left: code that
runs for some thirty calls in a row costs less than for each of them between other work. A call that
did not end well is told at once, with all that is noted by then.
"""

import asyncio
import time
from collections.abc import Callable

from gateway.call_log import CallLog
from gateway.call_report import CallReport, Tracer, code_of
from gateway.errors import ClientDisconnected, GatewayError
from gateway.http.exchange import Exchange
from gateway.trace_context import read_traceparent

_MAX_NOTED = 32
"""Calls: while they are told, others wait."""
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
        self._logs_all = log is not None and log.is_complete
        self._noted: list[_Ended] = []
        self._telling: asyncio.TimerHandle | None = None

    @property
    def reads_prompts(self) -> bool:
        return self._tracer is not None and self._tracer.records_prompts

    def begin(self, exchange: Exchange, route: str) -> None:
        if self._tracer is not None:
            exchange.trace = self._tracer.begin(exchange.headers, route)

    def end(self, exchange: Exchange, route: str, error: BaseException | None) -> None:
        is_well = _is_well(exchange, error)
        is_logged = self._logs_all or (not is_well and self._log is not None and self._log.has_room())
        if not is_logged and (exchange.trace is None or not exchange.trace.is_sampled):
            return
        self._noted.append((exchange, route, error, is_logged, time.perf_counter()))
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
        clocks = (time.perf_counter(), self._now(), time.time_ns())
        lines = []
        for ended in noted:
            exchange, _, _, is_logged, _ = ended
            report, trace = self._report(ended, *clocks), exchange.trace
            if trace is not None and trace.is_sampled:
                trace.ended(report)
            if is_logged:
                sent = read_traceparent(exchange.headers.get("traceparent")) if trace is None else trace
                lines.append((report, None if sent is None else sent.trace_id))
        if self._log is not None:
            self._log.write(lines)

    def _report(self, ended: "_Ended", clock_s: float, now: float, now_ns: int) -> CallReport:
        """The last three are the same moment."""
        exchange, route, error, _, ended_clock_s = ended
        ago_s = clock_s - ended_clock_s
        return CallReport(
            request_id=exchange.request_id,
            route=route,
            began_at=now - (clock_s - exchange.began_clock_s),
            ended_at=now - ago_s,
            ended_ns=now_ns - int(1e9 * ago_s),
            tenant_class=None if exchange.tenant is None else self._class_of(exchange.tenant),
            identity=exchange.identity,
            status=exchange.status or (error.status if isinstance(error, GatewayError) else 0),
            code=None if error is None else code_of(error),
            attempts=tuple([attempt for one in exchange.attempts if (attempt := one.attempt()) is not None]),
        )


_Ended = tuple[Exchange, str, BaseException | None, bool, float]
"""(what has ended, the engine's route, why, whether it has a line, when by `time.perf_counter`)"""


def _is_well(exchange: Exchange, error: BaseException | None) -> bool:
    """A client that leaves is well, too."""
    if error is not None:
        return isinstance(error, ClientDisconnected | asyncio.CancelledError)
    return len(exchange.attempts) == 1 and exchange.status < 500
