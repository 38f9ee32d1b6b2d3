"""The head of a request, as bytes.

Whatever could be read there as another header, another length or another request is refused: a client's header must
not become two of the gateway's. The check runs over the finished bytes, because counting line ends costs less than
looking at every name and value.
"""

from collections.abc import Sequence

from gateway.errors import InvalidRequest

_NAME_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""A token (RFC 9110, 5.6.2) in lower case, which is how ASGI has names: so one look tells whether a name is ours."""

_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te"})
"""What decides where a request ends, and what becomes of its connection."""

_BODILESS = frozenset({"GET", "HEAD"})


def request_head(
    method: str, target: bytes, authority: bytes, headers: Sequence[tuple[bytes, bytes]], body_bytes: int
) -> bytes:
    """Raises InvalidRequest."""
    lines = [b"%b %b HTTP/1.1\r\nhost: %b" % (method.encode(), target, authority)]
    lines += [name + b": " + value for name, value in headers]
    if body_bytes or method not in _BODILESS:
        lines.append(b"content-length: %d" % body_bytes)
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    names = [name for name, _ in headers]
    # A line end between two lines, one within the first, one that the last line is.
    num_lines = len(lines) + 1
    if (
        head.count(b"\n") != num_lines
        or head.count(b"\r") != num_lines
        or b"\0" in head
        or lines[0].count(b" ") != 3
        or len(lines[0].split()) != 5
        or not lines[0].isascii()
        or b"" in names
        or b"".join(names).translate(None, _NAME_BYTES)
        or not _OURS.isdisjoint(names)
    ):
        raise InvalidRequest("The request has a header, a path or a method that cannot be sent to an engine.")
    return head
