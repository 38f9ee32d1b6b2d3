"""The header `traceparent` (W3C Trace Context), read from whoever may have sent it."""

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_CHARS = 256
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class TraceParent(NamedTuple):
    trace_id: str
    """32 hex digits, not all 0."""
    span_id: str
    """16 of them."""
    is_sampled: bool


def read_traceparent(text: str | None) -> TraceParent | None:
    """None for what is none. Of a later version than ours, what ours knows of it."""
    found = _TRACEPARENT.fullmatch(text) if text is not None and len(text) <= _MAX_CHARS else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & 1))
