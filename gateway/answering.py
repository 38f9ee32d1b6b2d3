"""The answering side: what the application says, as bytes for its client.

They are the bytes that the server which is built upon (uvicorn) would write, in fewer pieces. It puts two questions to
each header of each answer; here a name is looked at once for all answers, and the values of an answer together.
"""

import asyncio
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from itertools import chain
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

_LENGTH, _ENCODING, _CONNECTION = b"content-length: ", b"transfer-encoding: ", b"connection: "
_FRAMING = frozenset((_LENGTH, _ENCODING, _CONNECTION))
"""What tells where the answer ends, and whether its connection does."""

_CONTROLS = bytes({*range(32), 127} - {ord("\t")})
"""Who could have one of them in a value could add headers, or a body."""


class Answer(RequestResponseCycle):
    """One request and its answer. All but the writing is uvicorn's."""

    _head = b""
    """Not sent yet: it leaves in one piece with what follows in the same turn of the loop. A write is a system call."""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        """Raises RuntimeError for what is no answer: out of turn, longer or shorter than it says, or no header."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started and kind == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif self.response_started and not self.response_complete and kind == "http.response.body":
            self._go_on(message.get("body", b""), has_more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} is out of turn")

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        says_close = False
        lines, values = [STATUS_LINE[status]], []
        for name, value in chain(self.default_headers, headers):
            label = _label(name)
            if label in _FRAMING:
                says_close = self._frame(label, value) or says_close
            lines += (label, value, b"\r\n")
            values.append(value)
        said = b"".join(values)
        if len(said.translate(None, _CONTROLS)) != len(said):
            raise RuntimeError("a header's value has control characters")
        if not self.keep_alive and not says_close:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        asyncio.get_running_loop().call_soon(self._send_head)

    def _frame(self, label: bytes, value: bytes) -> bool:
        """Whether it says that the connection ends with this answer."""
        if label == _LENGTH and self.chunked_encoding is None:
            self.expected_content_length, self.chunked_encoding = int(value), False
        elif label == _ENCODING and value.lower() == b"chunked":
            self.expected_content_length, self.chunked_encoding = 0, True
        elif label == _CONNECTION and b"close" in [token.strip().lower() for token in value.split(b",")]:
            self.keep_alive = False
            return True
        return False

    def _go_on(self, body: bytes, *, has_more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not has_more:
                body += b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the answer is longer than it says")
        if self._head:
            head, self._head = self._head, b""
            if body:
                self.transport.writelines((head, body))
            else:  # asyncio's transport, from Python 3.12 on, never gets rid of an empty piece
                self.transport.write(head)
        else:
            self.transport.write(body)
        if not has_more:
            self._end()

    def _send_head(self) -> None:
        """Its body is longer in coming."""
        if self._head and not self.transport.is_closing():
            self.transport.write(self._head)
        self._head = b""

    def _end(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("the answer is shorter than it says")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


@lru_cache(maxsize=128)
def _label(name: bytes) -> bytes:
    """The beginning of its line. Few are kept: names are the engine's as well, and as long as it likes."""
    if HEADER_RE.search(name):
        raise RuntimeError(f"no header's name: {name!r}")
    return name.lower() + b": "
