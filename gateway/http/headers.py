"""Which headers pass, in either direction."""

import re
from collections.abc import Iterable, Mapping, Sequence

from gateway.identity import KEY_HEADERS
from gateway.identity.steering import STEERING_HEADERS, STEERING_PREFIXES

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What the connection to the engine decides anew. An `expect` passed on would make the engine wait for a go-ahead.
_OWN_TO_ENGINE = HOP_BY_HOP | {"host", "content-length", "accept-encoding", "expect", *KEY_HEADERS}
_NOT_TO_ENGINE = frozenset(name.encode() for name in _OWN_TO_ENGINE | STEERING_HEADERS)
_NOT_FROM_TRACED = _NOT_TO_ENGINE | {b"traceparent", b"tracestate"}
_STEERING_PREFIXES = tuple(prefix.encode() for prefix in STEERING_PREFIXES)

# The server writes its own date and name.
_OWN_TO_CLIENT = frozenset(name.encode() for name in (*HOP_BY_HOP, "date", "server", "x-request-id"))

_UNSAFE_IN_REQUEST_ID = re.compile(r"[^A-Za-z0-9._~:@+=/-]")
_MAX_REQUEST_ID_CHARS = 128


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """As text, one character a byte, so that nothing is lost; by name, which ASGI has in lower case. Of several of one
    name, the first that says anything."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(headers) if value}


def to_engine(
    headers: Sequence[tuple[bytes, bytes]], *, without_trace: bool = False
) -> tuple[tuple[bytes, bytes], ...]:
    """The client's headers, names in lower case, without what steers an engine, the client's key, and what belongs to
    its connection. `without_trace`: the engine gets a trace context of ours."""
    # One set for all of them: a client may send hundreds.
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    dropped = _NOT_FROM_TRACED if without_trace else _NOT_TO_ENGINE
    if named:
        dropped = dropped | named
    return tuple([pair for pair in headers if pair[0] not in dropped and not pair[0].startswith(_STEERING_PREFIXES)])


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The engine's headers without what belongs to its connection, and without what only we say."""
    kept = []
    for name, value in headers:
        lowered = name.lower()
        if lowered not in _OWN_TO_CLIENT and not lowered.startswith(b"x-justitia-"):
            kept.append((name, value))
    return kept


def request_id(headers: Mapping[str, str], call_id: str) -> str:
    """The client's own, made harmless, else ours."""
    sent = headers.get("x-request-id")
    if sent is None:
        return call_id
    return _UNSAFE_IN_REQUEST_ID.sub("", sent[: 4 * _MAX_REQUEST_ID_CHARS])[:_MAX_REQUEST_ID_CHARS] or call_id
