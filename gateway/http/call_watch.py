"""Who looks at calls as they begin and end: a tracer, a log, both. Without either there is no watch at all."""

import asyncio
from collections.abc import Callable

from gateway.call_log import CallLog
from gateway.call_report import CallReport, Tracer, code_of
from gateway.errors import ClientDisconnected, GatewayError
from gateway.http.exchange import Exchange
from gateway.trace_context import read_traceparent


class CallWatch:
    """`now`: the dispatcher's clock; `class_of`: a tenant's class."""

    def __init__(
        self, tracer: Tracer | None, log: CallLog | None, now: Callable[[], float], class_of: Callable[[str], str]
    ) -> None:
        self._tracer = tracer
        self._log = log
        self._now = now
        self._class_of = class_of

    @property
    def reads_prompts(self) -> bool:
        return self._tracer is not None and self._tracer.records_prompts

    def begin(self, exchange: Exchange, route: str) -> None:
        if self._tracer is not None:
            exchange.trace = self._tracer.begin(exchange.headers, route)

    def end(self, exchange: Exchange, route: str, error: BaseException | None) -> None:
        trace = exchange.trace
        is_traced = trace is not None and trace.is_sampled
        is_logged = self._log is not None and self._log.wants(is_well=_is_well(exchange, error))
        if not (is_traced or is_logged):
            return
        report = self._report(exchange, route, error)
        if trace is not None and is_traced:
            trace.ended(report)
        if self._log is not None and is_logged:
            sent = read_traceparent(exchange.headers.get("traceparent")) if trace is None else trace
            self._log.write(report, None if sent is None else sent.trace_id)

    def _report(self, exchange: Exchange, route: str, error: BaseException | None) -> CallReport:
        ended_at = self._now()
        attempts = tuple(attempt for one in exchange.attempts if (attempt := one.attempt()) is not None)
        return CallReport(
            request_id=exchange.request_id,
            route=route,
            began_at=ended_at - exchange.elapsed_s(),
            ended_at=ended_at,
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
