"""One HTTP request and its answer: what was asked, what has been sent, and how long the gateway itself has worked."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from gateway.errors import ClientDisconnected, GatewayError, PayloadTooLarge
from gateway.http.errors import error_headers
from gateway.http.headers import Headers, decoded, request_id
from gateway.identity import Identity

_LINGER_S = 2.0
"""Long enough for a round trip around the world, and for a client to notice an answer while it sends."""


class Exchange:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.call_id = f"call-{uuid4().hex}"
        self.path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        self.method: str = scope["method"]
        self.headers = decoded(scope["headers"])
        self.receive = receive
        self.has_begun = False
        self.is_event_stream = False
        self._send = send
        self._has_read_body = False
        self._labels: Headers = [(b"x-request-id", request_id(self.headers, self.call_id).encode())]
        self._began_at = time.perf_counter()
        self._waited_s = 0.0

    # --- the request ---

    async def read_body(self, limit_bytes: int) -> bytes:
        """Raises PayloadTooLarge as soon as it is known to be, without having kept the body."""
        declared = next((value for name, value in self.headers if name == "content-length"), "0")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit_bytes:
            raise _too_large(limit_bytes)
        chunks: list[bytes] = []
        num_bytes, more_body = 0, True
        while more_body:
            with self.waiting():
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

    def name_application(self, identity: Identity) -> None:
        """Every answer from here on says whose call it took this for."""
        self._labels += [
            (b"x-justitia-application", identity.application.encode()),
            (b"x-justitia-tenant", identity.tenant.encode()),
            (b"x-justitia-identity", identity.rule.encode()),
        ]

    def label(self, name: str, value: str) -> None:
        self._labels.append((name.encode(), value.encode()))

    async def begin(self, status: int, headers: Headers) -> None:
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self._labels})

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
            await self.answer_json(
                error.status, error.body(), error_headers(error) + close, then_linger=is_body_on_its_way
            )
        elif self.is_event_stream:
            await self.write(b"data: " + json.dumps(error.body()).encode() + b"\n\n", is_last=True)

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

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What passes inside is not the gateway's own time."""
        began_at = time.perf_counter()
        try:
            yield
        finally:
            self._waited_s += time.perf_counter() - began_at

    def waited(self, seconds: float) -> None:
        self._waited_s += seconds

    def overhead_s(self) -> float:
        """The gateway's own time so far."""
        return max(0.0, time.perf_counter() - self._began_at - self._waited_s)


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than {limit_bytes} bytes.")
