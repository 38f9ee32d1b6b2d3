"""Which headers pass, in either direction."""

import re
from collections.abc import Iterable, Sequence

from gateway.identity import KEY_HEADERS, is_steering

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

# The server writes its own date and name.
_OWN_TO_CLIENT = frozenset(name.encode() for name in (*HOP_BY_HOP, "date", "server", "x-request-id"))

_UNSAFE_IN_REQUEST_ID = re.compile(r"[^A-Za-z0-9._~:@+=/-]")
_MAX_REQUEST_ID_CHARS = 128


def decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Header bytes as text, one character a byte, so that nothing is lost."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def to_engine(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The client's headers without what steers an engine, the client's key, and what belongs to its connection."""
    named_by_connection = {
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    }
    dropped = _OWN_TO_ENGINE | named_by_connection
    return tuple(
        (name, value) for name, value in headers if name.lower() not in dropped and not is_steering(name.lower())
    )


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The engine's headers without what belongs to its connection, and without what only we say."""
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in _OWN_TO_CLIENT and not name.lower().startswith(b"x-justitia-")
    ]


def find(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first header of this (lower-case) name."""
    return next((value for key, value in headers if key.lower() == name), None)


def request_id(headers: Iterable[tuple[str, str]], call_id: str) -> str:
    """The client's own, made harmless, else ours."""
    sent = find(headers, "x-request-id") or ""
    return _UNSAFE_IN_REQUEST_ID.sub("", sent[: 4 * _MAX_REQUEST_ID_CHARS])[:_MAX_REQUEST_ID_CHARS] or call_id
