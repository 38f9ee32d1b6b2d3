"""A call that has ended, as spans: names and attributes by OpenTelemetry's conventions for generative AI, and ours.

Times of a report are on the dispatcher's clock; spans have the time of day. The end of the call is both, so all its
times are moved by the same amount and stay consistent.

Most of what a span says, another said before: those parts are kept as bytes, the latest few thousand of them.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from urllib.parse import urlsplit

from gateway.call_report import Attempt, CallReport
from gateway.scheduling.model import Outcome
from gateway.tracing.wire import (
    attribute,
    attributes,
    delimited,
    fixed32,
    fixed64,
    number,
    text_attribute,
)

MAX_PROMPT_CHARS = 4096
MAX_MODEL_CHARS = 256
"""A client may name any model."""

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""`gen_ai.operation.name` by route."""

_ATTRIBUTE, _EVENT, _SPANS = 9, 11, 2
_SAMPLED, _KNOWN_REMOTE, _IS_REMOTE = 0x01, 0x100, 0x200

_INTERNAL, _SERVER, _CLIENT = number(6, 1), number(6, 2), number(6, 3)
_LOCAL_PARENT, _REMOTE_PARENT = (fixed32(16, _SAMPLED | _KNOWN_REMOTE | more) for more in (0, _IS_REMOTE))
_TRACE_ID, _SPAN_ID, _PARENT_ID = (delimited(field, bytes(size))[:-size] for field, size in ((1, 16), (2, 8), (4, 8)))

# Numbers of a fixed size, each after bytes that are the same every time: these are packed in one go.
_START, _END = (fixed64(field, 0)[:-8] for field in (7, 8))
_FIRST_BYTE = delimited(_EVENT, delimited(2, b"first byte") + fixed64(1, 0))[:-8]
_QUEUE_MS, _RANK, _VIRTUAL_FINISH_TIME = (
    attribute(_ATTRIBUTE, f"justitia.{name}", 0.0)[:-8] for name in ("queue_ms", "rank", "virtual_finish_time")
)
_interval_of = Struct(f"<{len(_START)}sQ{len(_END)}sQ").pack
_event_at = Struct(f"<{len(_FIRST_BYTE)}sQ").pack
_wait_of = Struct(f"<{len(_QUEUE_MS)}sd").pack
_place_of = Struct(f"<{len(_QUEUE_MS)}sd{len(_RANK)}sd{len(_VIRTUAL_FINISH_TIME)}sd").pack
_request_id = text_attribute(_ATTRIBUTE, "justitia.request.id")
_call_id = text_attribute(_ATTRIBUTE, "justitia.call.id")


class CallSpans:
    """Of one call, with the ids that its engines were told."""

    __slots__ = ("_below_server", "_engine_ids", "_of_all", "_of_server")

    def __init__(
        self, trace_id: bytes, span_id: bytes, parent_id: bytes, state: str, engine_ids: Sequence[bytes]
    ) -> None:
        self._of_all = _TRACE_ID + trace_id + (delimited(3, state.encode()) if state else b"") + _SPAN_ID
        parent = _PARENT_ID + parent_id + _REMOTE_PARENT if parent_id else _LOCAL_PARENT
        self._of_server = self._of_all + span_id + parent
        self._below_server = _PARENT_ID + span_id
        self._engine_ids = engine_ids

    def encoded(self, report: CallReport, new_ids: Sequence[bytes], *, keeps_text: bool) -> tuple[int, bytes]:
        """(how many, repeated ScopeSpans.spans). `new_ids`: one for each attempt."""
        shift_ns = report.ended_ns - int(report.ended_at * 1e9)
        spans = [self._server(report, shift_ns, keeps_text)]
        engine_ids = iter(self._engine_ids)
        for attempt, queue_id in zip(report.attempts, new_ids, strict=True):
            call_id = _call_id(attempt.call_id)
            spans.append(self._queue(attempt, queue_id, shift_ns, call_id))
            if attempt.dispatched_at is not None and (engine_id := next(engine_ids, None)) is not None:
                spans.append(self._engine(attempt, engine_id, shift_ns, call_id))
        return len(spans), b"".join([delimited(_SPANS, span) for span in spans])

    def _server(self, report: CallReport, shift_ns: int, keeps_text: bool) -> bytes:
        identity, last = report.identity, report.attempts[-1] if report.attempts else None
        code = report.code or (str(report.status) if report.status >= 500 else None)
        # A text: to hash a member of an enumeration takes a call.
        of_call = (report.route, str(report.outcome), report.status)
        queue_ms = 1000 * report.queue_s
        parts = [
            self._of_server,
            _interval(report.began_at, report.ended_at, shift_ns),
            _request_id(report.request_id),
        ]
        if report.tenant_class is not None:
            if identity is None:
                parts.append(_of_application(report.tenant_class, None, None, None))
            else:
                kind = identity.kind if last is None else last.kind
                parts.append(_of_application(report.tenant_class, kind, identity.application_id, identity.rule))
        if last is None:
            parts += (_of_call(*of_call, None, None, None), _wait_of(_QUEUE_MS, queue_ms))
        else:
            parts.append(_of_call(*of_call, last.model[:MAX_MODEL_CHARS], last.engine, last.max_tokens))
            if last.rank is None or last.virtual_finish_time is None:
                parts.append(_wait_of(_QUEUE_MS, queue_ms))
            else:
                finish = last.virtual_finish_time
                parts.append(_place_of(_QUEUE_MS, queue_ms, _RANK, last.rank, _VIRTUAL_FINISH_TIME, finish))
            if last.usage is not None:
                parts.append(_of_usage(last.usage.prompt_tokens, last.usage.completion_tokens))
            if keeps_text and last.text:
                parts.append(attribute(_ATTRIBUTE, "justitia.prompt", last.text[:MAX_PROMPT_CHARS]))
        if code is not None:
            parts.append(_error(code))
        return b"".join(parts)

    def _queue(self, attempt: Attempt, queue_id: bytes, shift_ns: int, call_id: bytes) -> bytes:
        until, error = attempt.dispatched_at, b""
        if until is None:
            until, error = attempt.ended_at, b"" if attempt.code is None else _error(attempt.code)
        interval = _interval(attempt.arrived_at, until, shift_ns)
        return b"".join((self._of_all, queue_id, self._below_server, _OF_QUEUE, interval, call_id, error))

    def _engine(self, attempt: Attempt, engine_id: bytes, shift_ns: int, call_id: bytes) -> bytes:
        assert attempt.dispatched_at is not None
        assert attempt.engine is not None
        answered_at = attempt.first_byte_at
        is_well = attempt.outcome is Outcome.COMPLETED or attempt.code is None
        return b"".join(
            (
                self._of_all,
                engine_id,
                self._below_server,
                _of_engine(attempt.engine, str(attempt.outcome)),
                _interval(attempt.dispatched_at, attempt.ended_at, shift_ns),
                call_id,
                b"" if answered_at is None else _event_at(_FIRST_BYTE, int(answered_at * 1e9) + shift_ns),
                b"" if is_well or attempt.code is None else _error(attempt.code),
            )
        )


def _interval(start: float, end: float, shift_ns: int) -> bytes:
    start_ns = int(start * 1e9) + shift_ns
    return _interval_of(_START, start_ns, _END, int(end * 1e9) + shift_ns if end > start else start_ns)


# --- parts that many spans have alike -------------------------------------------------------------------------------

_OF_QUEUE = delimited(5, b"queue") + _INTERNAL + _LOCAL_PARENT


@lru_cache(maxsize=4096)
def _of_call(
    route: str, outcome: str, status: int, model: str | None, engine: str | None, max_tokens: int | None
) -> bytes:
    """Its name, too."""
    operation = OPERATIONS.get(route, "chat")
    name = operation if model is None else f"{operation} {model}"
    held = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": max_tokens,
        "http.request.method": "POST",
        "http.route": route,
        "http.response.status_code": status or None,
        "justitia.engine": engine,
        "justitia.outcome": outcome,
    }
    return delimited(5, name.encode("utf-8", "replace")) + _SERVER + attributes(_ATTRIBUTE, held)


@lru_cache(maxsize=4096)
def _of_application(tenant_class: str, kind: str | None, application_id: str | None, rule: str | None) -> bytes:
    return attributes(
        _ATTRIBUTE,
        {
            "justitia.tenant.class": tenant_class,
            "justitia.application.id": application_id,
            "justitia.application.kind": kind,
            "justitia.identity.rule": rule,
        },
    )


@lru_cache(maxsize=4096)
def _of_usage(prompt_tokens: int, completion_tokens: int) -> bytes:
    return attributes(
        _ATTRIBUTE,
        {"gen_ai.usage.input_tokens": prompt_tokens, "gen_ai.usage.output_tokens": completion_tokens},
    )


@lru_cache(maxsize=1024)
def _of_engine(engine: str, outcome: str) -> bytes:
    parts = urlsplit(f"//{engine}")
    held = {
        "server.address": parts.hostname or engine,
        "server.port": parts.port,
        "gen_ai.provider.name": "vllm",
        "justitia.outcome": outcome,
    }
    return delimited(5, b"engine") + _CLIENT + _LOCAL_PARENT + attributes(_ATTRIBUTE, held)


@lru_cache(maxsize=64)
def _error(code: str) -> bytes:
    return attribute(_ATTRIBUTE, "error.type", code) + delimited(15, delimited(2, code.encode()) + number(3, 2))
