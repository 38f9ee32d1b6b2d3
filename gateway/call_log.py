"""One line a call: who, where, how long, and how it ended. No prompt text, no key, ever."""

import logging
from collections.abc import Callable, Sequence

from gateway.call_report import CallReport
from gateway.scheduling.model import Outcome

log = logging.getLogger("gateway.calls")

MAX_LINES_A_SECOND = 100
"""Of calls that did not end well: ten thousand refusals a second would be told at the expense of who is served."""

Fields = dict[str, str | int | float]


class CallLog:
    def __init__(self, now: Callable[[], float], *, is_complete: bool) -> None:
        """`is_complete`: every call is to be told, however many there are."""
        self._now = now
        self.is_complete = is_complete
        self._second = 0
        self._num_written = 0
        self._num_left_out = 0

    def has_room(self) -> bool:
        """For another one that ended badly, where not all are told."""
        second = int(self._now())
        if second != self._second:
            if self._num_left_out:
                log.warning("%d more calls ended badly at that time and are not listed", self._num_left_out)
            self._second, self._num_written, self._num_left_out = second, 0, 0
        if self._num_written >= MAX_LINES_A_SECOND:
            self._num_left_out += 1
            return False
        self._num_written += 1
        return True

    def write(self, ended: Sequence[tuple[CallReport, str | None]]) -> None:
        """Calls and the ids of their traces, in the order in which they ended."""
        records = [_record(report, trace_id) for report, trace_id in ended if log.isEnabledFor(_level(report))]
        for number, record in enumerate(records, 1):
            record.is_followed = number < len(records)
            log.handle(record)


_ALIKE = logging.LogRecord(log.name, logging.INFO, __file__, 0, "", (), None).__dict__


def _record(report: CallReport, trace_id: str | None) -> logging.LogRecord:
    """As `log.log` makes it, without looking for the line of code that calls it, for the thread and the process: that
    takes longer than all the rest. Its time is the end of the call."""
    level, fields = _level(report), fields_of(report)
    if trace_id is not None:
        fields["trace_id"] = trace_id
    made = logging.LogRecord.__new__(logging.LogRecord)
    made.__dict__ = {
        **_ALIKE,
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "msg": f"call {_said(report)}",
        "created": report.ended_ns / 1e9,
        "msecs": report.ended_ns // 10**6 % 1000,
        "fields": fields,
    }
    return made


def _level(report: CallReport) -> int:
    """A warning where the engine or we ourselves were at fault, also where another engine helped."""
    for attempt in report.attempts:
        if attempt.outcome is Outcome.FAILED or attempt.outcome is Outcome.RETRIED:
            return logging.WARNING
    is_bad = report.outcome is Outcome.FAILED or (report.code is None and report.status >= 500)
    return logging.WARNING if is_bad else logging.INFO


def _said(report: CallReport) -> str:
    return f"{report.outcome}, retried once" if len(report.attempts) > 1 else str(report.outcome)


def fields_of(report: CallReport) -> Fields:
    """What is known of it. Milliseconds; names and ids are printable ASCII without spaces, the rest is ours."""
    fields: Fields = {"request_id": report.request_id}
    last = report.attempts[-1] if report.attempts else None
    if last is not None:
        fields["call_id"] = last.call_id
    if report.identity is not None:
        fields["application"] = report.identity.application_id
        fields["kind"] = report.identity.kind if last is None else last.kind
    if report.tenant_class is not None:
        fields["tenant_class"] = report.tenant_class
    if last is not None and last.engine is not None:
        fields["engine"] = last.engine
    fields["outcome"] = str(report.outcome)
    if report.code is not None:
        fields["code"] = report.code
    if report.status:
        fields["status"] = report.status
    fields["queue_ms"] = _ms(report.queue_s)
    first_byte_s = report.first_byte_s
    if first_byte_s is not None:
        fields["ttft_ms"] = _ms(first_byte_s)
    fields["total_ms"] = _ms(report.ended_at - report.began_at)
    if last is not None and last.usage is not None:
        fields["prompt_tokens"] = last.usage.prompt_tokens
        fields["completion_tokens"] = last.usage.completion_tokens
    if len(report.attempts) > 1:
        fields["retried_from"] = report.attempts[0].engine or ""
    return fields


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
