"""The listening side: what clients may cost before, between and beside their calls.

The server that is built upon (uvicorn's protocol, parsed by httptools) reads whatever comes for as long as it comes.
Here everything a client can make it hold has a limit, of bytes and of time:

    idle ──► head ──► body ──► a call in work ──► idle …
     75 s     20 s     30 s of silence, 300 s    the answer: 60 s without taking any of it

Times are looked at once a second for all connections together (`Listening.sweep`), so that a request costs no timer,
and are told in seconds of the loop's clock. A client that exceeds a limit is answered in the API's shape where nothing
was answered yet (400, 408, 431, 503, 505), and its connection is closed in any case.
"""

import asyncio
import json
import logging
import resource
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.answering import Answer

_LINGER_S = 2.0
"""A refused client may still be sending: closing at once would reset the connection under our answer."""

_OTHER_FILES = 256
"""Listeners, logs, Redis, the training process; what connections must leave free."""

_WANTED_FILES = 65_536

# Every malformed request would be a line, which a stranger could fill a disk with.
_log = logging.getLogger(f"{__name__}.connections")
_log.setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class ListeningLimits:
    """Of one process; times in seconds."""

    max_connections: int = 10_000
    """When they are all taken, the one that has had no call in work for longest makes room."""
    max_head_bytes: int = 64 * 2**10
    """And again of what comes around a body: chunk sizes, trailers. Those may have as many bytes more as the body."""
    max_headers: int = 256
    max_queued_requests: int = 16
    """That one connection sends before its first answer is complete."""
    max_incoming_bytes: int = 512 * 2**20
    """Of all bodies that are not complete. The one that has been on its way for longest is given up then."""
    idle_s: float = 75.0
    """Longer than any client's pool keeps connections (httpx: 5 s), so that the client is the one to close and never
    sends into a connection that we are closing. nginx has the same."""
    head_s: float = 20.0
    body_silence_s: float = 30.0
    body_s: float = 300.0
    untaken_s: float = 60.0
    """An answer that waits for its client, of which nothing was taken for this long."""


class Listening:
    """What the connections of one server share: their limits, and how much is held for them together."""

    def __init__(self, limits: ListeningLimits) -> None:
        self.limits = limits
        self.now = asyncio.get_running_loop().time()
        """The time of the last sweep."""
        self.num_incoming_bytes = 0
        self._connections: dict[ClientConnection, None] = {}
        self._callless: dict[ClientConnection, None] = {}
        """No complete request of theirs is in work; the one for which that holds longest comes first."""
        self._incoming: dict[ClientConnection, int] = {}
        """Bytes of their incomplete bodies; the one that began first comes first."""

    def protocol(self, **server: Any) -> asyncio.Protocol:
        """In the place of uvicorn's protocol class."""
        return ClientConnection(self, **server)

    def sweep(self, now: float) -> None:
        self.now = now
        for connection in list(self._connections):
            connection.check(now)

    # --- what connections tell ---

    def opened(self, connection: "ClientConnection") -> None:
        self._connections[connection] = None
        if len(self._connections) > self.limits.max_connections:
            oldest = next(iter(self._callless), connection)
            oldest.refuse(503, "The gateway has too many connections.", lingers=False)
        if not connection.is_refused:
            self._callless[connection] = None

    def closed(self, connection: "ClientConnection") -> None:
        self._connections.pop(connection, None)
        self._callless.pop(connection, None)
        self.arrived(connection)

    def has_call(self, connection: "ClientConnection") -> None:
        self._callless.pop(connection, None)

    def has_no_call(self, connection: "ClientConnection") -> None:
        self._callless[connection] = None

    def arrives(self, connection: "ClientConnection", num_bytes: int) -> None:
        """More of a body that is not complete."""
        self._incoming[connection] = self._incoming.get(connection, 0) + num_bytes
        self.num_incoming_bytes += num_bytes
        while self.num_incoming_bytes > self.limits.max_incoming_bytes:
            oldest = next(iter(self._incoming))
            self.arrived(oldest)
            oldest.refuse(503, "The gateway receives too much at once.")

    def arrived(self, connection: "ClientConnection") -> None:
        """The body is complete, or will never be."""
        self.num_incoming_bytes -= self._incoming.pop(connection, 0)


class ClientConnection(HttpToolsProtocol):
    """One client's connection, within `ListeningLimits`."""

    def __init__(self, listening: Listening, **server: Any) -> None:
        super().__init__(**server)
        self.logger = _log
        self._listening = listening
        self._limits = listening.limits
        self._began_at = self._heard_at = listening.now
        """Of what is awaited: a head, the rest of one, a body."""
        self._is_head_begun = self._is_body_begun = False
        self._read_bytes = self._around_bytes = self._body_bytes = 0
        self._overtaken: list[RequestResponseCycle] = []
        """Requests that others were sent behind of, and whose answers are not complete."""
        self._flaw: tuple[int, str] | None = None
        self._is_to_be_read_again = False
        """The head that was read asks for another protocol; without that line it is a request like any other."""
        self._is_deaf = False
        """What comes is not read any more."""
        self._refused_at: float | None = None
        self._untaken_bytes = 0
        self._taken_at = listening.now

    @property
    def is_refused(self) -> bool:
        return self._refused_at is not None

    # --- the transport's calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._listening.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listening.closed(self)
        for cycle in self._overtaken:  # uvicorn tells the last one only
            _disconnect(cycle)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._heard_at = self._listening.now
        self._read_bytes, self._body_bytes = len(data), 0
        self._parse(data)
        if (self._is_head_begun or self._is_body_begun) and not self._is_deaf:
            self._has_more_to_come()

    def _parse(self, data: bytes) -> None:
        """In the place of uvicorn's, whose parser takes what follows an `Upgrade` for another protocol: a body too."""
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._is_to_be_read_again:  # CONNECT: what follows is not for us in any case
                    self._is_deaf = True
                    self.cycle.keep_alive = False
                    return
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)  # the other may hold the connection for ended
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            except httptools.HttpParserError:
                self.send_400_response("")
                return
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        self._is_to_be_read_again = False
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))

    def _has_more_to_come(self) -> None:
        # Whatever comes around a body, in heads, chunk sizes and trailers; less what came as one.
        self._around_bytes += self._read_bytes - 2 * self._body_bytes
        if self._around_bytes > self._limits.max_head_bytes:
            self.refuse(*_too_much_around(self._limits))
        elif self._body_bytes and not self.cycle.response_started:
            self._listening.arrives(self, self._body_bytes)

    # --- the parser's calls ---

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._began_at = self._listening.now
        self._is_head_begun = True
        self._around_bytes = 0

    def on_headers_complete(self) -> None:
        flaw = self._flaw_of_head()
        if flaw is not None:
            self._flaw = flaw
            raise ValueError(flaw[1])  # which ends the parser's work
        # A client may wish for another protocol and must do with this one (RFC 9110, 7.8). Java's HttpClient wishes for
        # h2c with every request, curl --http2 with its first: they send their bodies as HTTP/1.1 all the same.
        self._is_to_be_read_again = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._is_to_be_read_again:
            return
        earlier = self.cycle
        super().on_headers_complete()
        if earlier is not None and not earlier.response_complete:
            self._overtaken = [cycle for cycle in self._overtaken if not cycle.response_complete]
            self._overtaken.append(earlier)
        # Trailers are no headers (RFC 9110, 6.5.1): what comes from here on is not kept.
        self.headers = deque(maxlen=0)  # type: ignore[assignment]
        self._is_head_begun, self._is_body_begun = False, True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.__class__ = Answer  # uvicorn makes it, and cannot be told of what class
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_to_be_read_again:
            return
        self._is_body_begun = False
        self._read_bytes = self._body_bytes = 0  # what else was read belongs to another message
        self._listening.has_call(self)
        self._listening.arrived(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._began_at = self._listening.now
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:  # the same, but for a timer: `check` closes what is idle
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._listening.has_no_call(self)

    def _flaw_of_head(self) -> tuple[int, str] | None:
        limits = self._limits
        if self.parser.get_http_version() not in ("1.1", "1.0"):
            return 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here."
        if len(self.headers) > limits.max_headers:
            return 431, f"The request has more than {limits.max_headers} headers."
        if self._around_bytes + self._read_bytes > limits.max_head_bytes:  # perhaps: it may have been read with others
            num_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if num_bytes > limits.max_head_bytes:
                return _too_much_around(limits)
        if len(self.pipeline) >= limits.max_queued_requests:
            return 400, "Too many requests were sent before their answers were read."
        return None

    # --- refusals ---

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or too much of it."""
        self.refuse(*(self._flaw or (400, "This is no HTTP/1.1 request that can be read.")))

    def refuse(self, status: int, message: str, *, lingers: bool = True) -> None:
        """Says so, where nothing else is being said; closes the connection."""
        if self.is_refused or self.transport.is_closing():
            return
        self._refused_at = self._listening.now
        self._is_deaf = True
        self._unset_keepalive_if_required()
        self._listening.has_call(self)
        self._listening.arrived(self)
        open_cycles = [cycle for cycle in (*self._overtaken, self.cycle) if cycle and not cycle.response_complete]
        for cycle in open_cycles:
            _disconnect(cycle)
        if any(cycle.response_started or not cycle.more_body for cycle in open_cycles):
            self.transport.abort()  # another answer is on its way
            return
        if self._is_head_begun or open_cycles or self.cycle is None:
            self.transport.write(_refusal(status, message))
        if lingers and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    # --- time ---

    def check(self, now: float) -> None:
        limits = self._limits
        is_over = self._refused_at is not None and now - self._refused_at > _LINGER_S
        if is_over or self._is_untaken(now):
            self.transport.abort()
        elif self._is_head_begun:
            if now - self._began_at > limits.head_s:
                self.refuse(408, f"The request's head has not come within {limits.head_s:g} s.")
        elif self._is_body_begun:
            # One that we do not read, because the client sent it before its turn, is not late.
            if not self.flow.read_paused and not self.pipeline:
                if now - self._heard_at > limits.body_silence_s:
                    self.refuse(408, f"Nothing of the request's body has come for {limits.body_silence_s:g} s.")
                elif now - self._began_at > limits.body_s:
                    self.refuse(408, f"The request's body has not come within {limits.body_s:g} s.")
        elif not self._has_call() and now - self._began_at > limits.idle_s:
            self.transport.close()

    def _has_call(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_untaken(self, now: float) -> bool:
        """An answer lies here that the client does not take, and nothing is added to it meanwhile."""
        num_bytes = self.transport.get_write_buffer_size()
        if num_bytes == 0 or num_bytes < self._untaken_bytes or (self._has_call() and not self.flow.write_paused):
            self._taken_at = now
        self._untaken_bytes = num_bytes
        return now - self._taken_at > self._limits.untaken_s


def _disconnect(cycle: RequestResponseCycle) -> None:
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()


def _too_much_around(limits: ListeningLimits) -> tuple[int, str]:
    return 431, f"The request has more than {limits.max_head_bytes} bytes of headers."


def _refusal(status: int, message: str) -> bytes:
    kind, code = ("server_error", "overloaded") if status == 503 else ("invalid_request_error", "invalid_request")
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
    lines: Iterable[str] = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(("retry-after: 1",) if status == 503 else ()),
        "connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def limits_with_files(limits: ListeningLimits) -> ListeningLimits:
    """With no more connections than there can be files for: a call takes two, to its client and to its engine. Asks
    the system for more first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, max_connections=max(16, min(limits.max_connections, (soft - _OTHER_FILES) // 2)))
