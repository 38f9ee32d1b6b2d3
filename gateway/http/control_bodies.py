"""A limit for the bodies of control routes, which the framework reads whole before it asks whose they are."""

import asyncio
import contextlib
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import PayloadTooLarge

MAX_CONTROL_BODY_BYTES = 256 * 2**10
"""A declaration whose every field is as long as it may be, each character escaped."""

_LINGER_S = 2.0


class ControlBodies:
    """ASGI middleware. Reads the body of what is no GET, and hands it on in one piece."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            return await self._app(scope, receive, send)
        body, more_body = bytearray(), True
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > MAX_CONTROL_BODY_BYTES:
                return await _refuse(receive, send)
            more_body = message.get("more_body", False)
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        return await self._app(scope, replay, send)


async def _refuse(receive: Receive, send: Send) -> None:
    error = PayloadTooLarge(f"The request body is larger than {MAX_CONTROL_BODY_BYTES} bytes.")
    content = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send(
        {"type": "http.response.start", "status": error.status, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": content, "more_body": True})
    with contextlib.suppress(TimeoutError):  # closing under a client that sends would reset it, and the answer with it
        async with asyncio.timeout(_LINGER_S):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
