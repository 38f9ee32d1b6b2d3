"""One HTTP/1.1 connection to an engine: a request at a time, its answer parsed by httptools as it arrives.

Everything happens in the loop's callbacks; a task waits for one thing only, that more of its answer is there
(`UpstreamResponse`). An answer that arrives in one piece costs one waking.

An engine is trusted with our calls and not with our memory: what it may send without any of it becoming a body is
bounded, and so is what is kept of a body that nobody takes. Its framing is httptools' to judge (llhttp, strict); what
it lets pass and we do not is judged here. A connection is used again only if nothing about its last answer was odd.
"""

import asyncio
import select
from collections.abc import Callable
from typing import cast

import httptools

from gateway.engines.response import UpstreamResponse
from gateway.errors import EngineError, EngineTimeout, EngineUnreachable

MAX_HEAD_BYTES = 64 * 2**10
"""Of all heads of one answer, interim ones too, and again of what comes without a body: trailers, chunk extensions."""

HEADER_WORTH_BYTES = 32
"""What a header counts for besides its bytes (as in RFC 9113, 6.5.2), which bounds their number."""

MAX_KEPT_BYTES = 256 * 2**10
"""Of a body whose reader is slow; then the engine is read no further. The last segment read may exceed it."""

JOINED_BYTES = 64 * 2**10
"""A body up to this size leaves in one write with its head; a larger one in pieces, as the engine takes them."""

PIECE_BYTES = 256 * 2**10


class Connection(asyncio.Protocol):
    """`freed` is told when the connection can be used again, `lost` once, when it is closed."""

    __slots__ = (
        "_engine", "_flaw", "_freed", "_has_excess", "_head_bytes", "_heard_at", "_is_head_only", "_is_interim",
        "_is_lost", "_is_over", "_is_read_paused", "_is_write_paused", "_keeps_alive", "_loop", "_lost", "_parser",
        "_poll", "_response", "_silence_timeout_s", "_status", "_timer", "_transport", "_unsent", "_unyielding_bytes",
        "idle_since",
    )  # fmt: skip

    def __init__(
        self,
        engine: str,
        silence_timeout_s: float,
        freed: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self.idle_since = 0.0
        """The pool's, on the loop's clock."""
        self._engine = engine
        self._silence_timeout_s = silence_timeout_s
        self._freed = freed
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser: httptools.HttpResponseParser
        self._transport: asyncio.Transport
        self._poll = select.poll()
        self._timer: asyncio.TimerHandle | None = None
        self._response: UpstreamResponse | None = None
        self._heard_at = 0.0
        self._unsent = memoryview(b"")
        self._is_lost = self._is_read_paused = self._is_write_paused = False
        self._begin(is_head_only=False)

    def _begin(self, *, is_head_only: bool) -> None:
        self._is_head_only = is_head_only
        self._status = self._head_bytes = self._unyielding_bytes = 0
        self._is_interim = self._is_over = self._has_excess = self._keeps_alive = False
        self._flaw: str | None = None

    # --- for the pool and the upstream ---

    def is_open(self) -> bool:
        return not self._is_lost and not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Open, and silent as it should be between two calls. What the loop has not read yet counts: an end that lies
        there, or bytes that nobody asked for and that would be taken for the next answer."""
        return self.is_open() and not self._poll.poll(0)

    async def ask(self, method: str, head: bytes, body: bytes) -> UpstreamResponse:
        """Sends the request and waits until its answer has begun. Raises EngineUnreachable or EngineTimeout."""
        self._begin(is_head_only=method == "HEAD")
        response = self._response = UpstreamResponse(self._engine, self)
        self._heard_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._heard_at + self._silence_timeout_s, self._check_silence)
        if len(body) <= JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
            self._send_on()
        await response.begun()
        return response

    def hang_up(self) -> None:
        if self._response is not None:
            self._fail(self._response, EngineUnreachable(f"engine {self._engine}: the connection was closed from here"))
        else:
            self._transport.abort()

    def resume(self) -> None:
        if self._is_read_paused:
            self._is_read_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    # --- the transport's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self._transport.abort()  # an answer to nothing
            return
        self._heard_at = self._loop.time()
        self._unyielding_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._has_excess = True
            if not self._is_over:
                self._flaw = self._flaw or str(error)
        if self._flaw is not None:
            self._fail(response, self._broken(f"a malformed answer: {self._flaw}"))
        elif self._is_over:
            self._finish(response)
        elif self._unyielding_bytes > MAX_HEAD_BYTES:
            self._fail(response, self._broken(f"an answer with more than {MAX_HEAD_BYTES} bytes around its body"))
        elif self._status:
            # One with a length is handed over with its first bytes, if those are all that is missing: one waking.
            if response.num_kept or response.status or not _has_length(response):
                response.status = self._status
                response.wake()
            if response.num_kept > MAX_KEPT_BYTES and not self._is_read_paused:
                self._is_read_paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ended(exc)
        self._lost(self)
        del self._parser  # each refers to the other

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._heard_at = self._loop.time()  # it takes what we send: that is a sign of life
        self._send_on()

    # --- the parser's calls; those about a message that nobody asked for are ignored ---

    def on_message_begin(self) -> None:
        self._has_excess = self._is_over

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_over:
            return
        self._head_bytes += len(name) + len(value) + HEADER_WORTH_BYTES
        if self._head_bytes > MAX_HEAD_BYTES:
            self._flaw = f"headers of more than {MAX_HEAD_BYTES} bytes"
        elif not self._status and self._response is not None:  # else it is a trailer
            self._response.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_over:
            return
        status = self._parser.get_status_code()
        if 200 <= status <= 599:
            self._status = status
            self._is_over = self._is_head_only
            self._keeps_alive = not self._is_head_only and self._parser.should_keep_alive()
        elif 100 <= status < 200 and status != 101:
            self._is_interim = True
            assert self._response is not None
            self._response.headers.clear()
        else:
            self._flaw = f"the status {status}"

    def on_body(self, data: bytes) -> None:
        if not self._is_over and self._response is not None:
            self._unyielding_bytes = 0
            self._response.keep(data)

    def on_message_complete(self) -> None:
        self._is_over = not self._is_interim
        self._is_interim = False

    # --- inside ---

    def _send_on(self) -> None:
        """As much as the transport takes; `resume_writing` goes on with it. So an answer that comes early is read."""
        while self._unsent and not self._is_write_paused and not self._transport.is_closing():
            piece, self._unsent = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._transport.write(piece)

    def _finish(self, response: UpstreamResponse) -> None:
        self._response = None
        response.status = self._status
        response.complete()
        response.wake()
        is_sent = not self._unsent and self._transport.get_write_buffer_size() == 0
        if self._keeps_alive and is_sent and not self._has_excess and self.is_open():
            self.resume()
            self._freed(self)
        else:
            self._close()

    def _fail(self, response: UpstreamResponse, error: EngineError) -> None:
        self._response = None
        response.fail(error)
        response.wake()
        self._close()

    def _close(self) -> None:
        self._unsent = memoryview(b"")
        self._transport.abort()

    def _ended(self, error: Exception | None) -> None:
        """By the engine."""
        response = self._response
        if response is None:
            self._close()
        elif error is None and self._status and not _is_framed(response):
            self._finish(response)
        else:
            self._fail(response, self._broken(str(error) or type(error).__name__ if error else "it hung up", error))

    def _check_silence(self) -> None:
        """One timer a connection, late rather than moved with every byte; it rests while nothing is asked."""
        self._timer = None
        if self._response is None:
            return
        now = self._loop.time()
        due = self._silence_timeout_s + (now if self._is_read_paused else self._heard_at)
        if due <= now:
            self._fail(self._response, EngineTimeout(f"engine {self._engine} has been silent for too long"))
        else:
            self._timer = self._loop.call_at(due, self._check_silence)

    def _broken(self, reason: str, cause: Exception | None = None) -> EngineUnreachable:
        error = EngineUnreachable(f"engine {self._engine} broke off: {reason}")
        error.__cause__ = cause
        return error


def _has_length(response: UpstreamResponse) -> bool:
    return any(name.lower() == b"content-length" for name, _ in response.headers)


def _is_framed(response: UpstreamResponse) -> bool:
    """It tells where its body ends; else the end of the connection does."""
    return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in response.headers)
