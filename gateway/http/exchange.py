"""One HTTP request and its answer: what was asked, what has been sent, and how long the gateway itself has worked."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

from starlette.types import Receive, Scope, Send

from gateway.call_report import Attempted, CallTrace
from gateway.errors import ClientDisconnected, GatewayError, PayloadTooLarge
from gateway.http.apis import ErrorShape
from gateway.http.errors import error_body, error_event, error_headers
from gateway.http.headers import Headers, by_name, request_id
from gateway.identity import Identity

_LINGER_S = 2.0
"""Long enough for a round trip around the world, and for a client to notice an answer while it sends."""


class Exchange:
    def __init__(self, scope: Scope, receive: Receive, send: Send, call_ids: Iterator[str]) -> None:
        self.call_id: str = next(call_ids)
        self._call_ids = call_ids
        self.path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.method: str = scope["method"]
        self.raw_headers: Headers = scope["headers"]
        """Names in lower case: ASGI has them so."""
        self.headers = by_name(self.raw_headers)
        """As text; of several of one name, the first that says anything."""
        self.receive = receive
        self.has_begun = False
        self.is_event_stream = False
        self.error_shape: ErrorShape = "openai"
        self.tenant: str | None = None
        self.identity: Identity | None = None
        self.status = 0
        """Of the answer, once it has begun."""
        self.trace: CallTrace | None = None
        self.attempts: list[Attempted] = []
        """Two for a call that had to be made anew."""
        self._send = send
        self._has_read_body = False
        self.request_id = request_id(self.headers, self.call_id)
        self._labels: Headers = [(b"x-request-id", self.request_id.encode())]
        self._place: Headers = []
        self.began_clock_s = time.perf_counter()
        self._waited_s = 0.0
        self._waits_since = 0.0
        self._queue_s = 0.0

    # --- the request ---

    async def read_body(self, limit_bytes: int) -> bytes:
        """Raises PayloadTooLarge as soon as it is known to be, without having kept the body."""
        declared = self.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit_bytes:
            raise _too_large(limit_bytes)
        chunks: list[bytes] = []
        num_bytes, more_body = 0, True
        while more_body:
            with self.waiting:
                message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected("The client left before its body was complete.")
            chunks.append(message.get("body", b""))
            num_bytes += len(chunks[-1])
            if num_bytes > limit_bytes:
                raise _too_large(limit_bytes)
            more_body = message.get("more_body", False)
        self._has_read_body = True
        return b"".join(chunks)

    # --- the answer ---

    def name_tenant(self, tenant: str) -> None:
        """Every answer from here on says who pays for it."""
        self.tenant = tenant
        self._labels.append((b"x-justitia-tenant", tenant.encode()))

    def name_application(self, identity: Identity) -> None:
        """Every answer from here on says whose call it took this for."""
        self.identity = identity
        self._labels += [
            (b"x-justitia-application", identity.application.encode()),
            (b"x-justitia-identity", identity.rule.encode()),
        ]

    def next_call_id(self) -> str:
        """For another call, made for the same request."""
        self.call_id = next(self._call_ids)
        return self.call_id

    def dispatched(self, virtual_finish_time: float, queue_s: float) -> None:
        """Once, or twice for a call that had to be made anew."""
        self._waited_s += queue_s
        self._queue_s += queue_s
        self._place = [
            (b"x-justitia-virtual-finish-time", repr(float(virtual_finish_time)).encode()),
            (b"x-justitia-queue-ms", b"%.3f" % (1000 * self._queue_s)),
        ]

    def label(self, name: str, value: str) -> None:
        self._labels.append((name.encode(), value.encode()))

    async def begin(self, status: int, headers: Headers) -> None:
        self.has_begun = True
        self.status = status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": headers + self._labels + self._place}
        )

    async def write(self, body: bytes, *, is_last: bool = False) -> None:
        if body or is_last:
            await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def answer_json(
        self, status: int, content: object, headers: Headers | None = None, *, then_linger: bool = False
    ) -> None:
        body = json.dumps(content).encode()
        content_headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self.begin(status, content_headers + (headers or []))
        await self.write(body, is_last=not then_linger)
        if then_linger:
            await self._linger()
            await self.write(b"", is_last=True)

    async def fail(self, error: GatewayError) -> None:
        """Say so in the way that is still open: a JSON error; within a stream, an event; within any other body
        nothing, so that the server closes the connection and the client sees a body cut off."""
        if not self.has_begun:
            is_body_on_its_way = self.method != "GET" and not self._has_read_body
            close: Headers = [(b"connection", b"close")] if is_body_on_its_way else []
            body = error_body(error, self.error_shape, self.request_id)
            await self.answer_json(error.status, body, error_headers(error) + close, then_linger=is_body_on_its_way)
        elif self.is_event_stream:
            await self.write(error_event(error, self.error_shape, self.request_id), is_last=True)

    async def _linger(self) -> None:
        """Read on without keeping anything. Closing at once would reset the connection under a client that is still
        sending, and many clients then report the reset and not our answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                more_body = True
                while more_body:
                    message = await self.receive()
                    more_body = message["type"] == "http.request" and message.get("more_body", False)

    # --- time ---

    def __enter__(self) -> None:
        """What passes inside is not the gateway's own time."""
        self._waits_since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._waited_s += time.perf_counter() - self._waits_since

    @property
    def waiting(self) -> "Exchange":
        """A context that is entered once at a time (a generator's would cost more than what it measures)."""
        return self

    def overhead_s(self) -> float:
        """The gateway's own time so far."""
        return max(0.0, time.perf_counter() - self.began_clock_s - self._waited_s)


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than {limit_bytes} bytes.")
