"""The patch's HTTP routes: plain ASGI middleware for vLLM's server (`--middleware engine_patch.routes.JustitiaRoutes`).

    GET  /justitia/state?since=N     the engine's state and finished records, see `ledger.Ledger.state`
    POST /justitia/ranks             {"ranks": {application id: rank}} → {"reranked": number of live requests}

They stand outside vLLM's own `--api-key`, so they have a token of their own: environment JUSTITIA_ENGINE_TOKEN, sent as
`Authorization: Bearer …`. Without it they answer only to clients on the same machine. Errors have OpenAI's shape.
Every other path goes through untouched, but for one header: see `_with_call_id`.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from engine_patch.ranks import CALL_ID_SEPARATOR, call_id_in
from engine_patch.rpc import RERANK_METHOD, STATE_METHOD

TOKEN_VARIABLE = "JUSTITIA_ENGINE_TOKEN"
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Ranks of some 40,000 applications; more are sent in several requests."""
MAX_APPLICATION_ID_LENGTH = 256
MAX_RANK = 2**63
MAX_SEQUENCE = 2**63
ENGINE_TIMEOUT_S = 30.0
"""An answer waits for the engine's current step, which a long prefill can make long."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("vllm.justitia")


class RouteError(Exception):
    """An answer other than 200."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "engine_error"
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}


class JustitiaRoutes:
    def __init__(self, app: App) -> None:
        self._app = app
        self._token = os.environ.get(TOKEN_VARIABLE, "").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not path.startswith("/justitia/"):
            await self._app(_with_call_id(scope) if path.endswith("/responses") else scope, receive, send)
            return
        try:
            status, body = HTTPStatus.OK, await self._answer(path, scope, receive)
        except RouteError as error:
            status, body = error.status, error.body()
        await _respond(send, status, body)

    async def _answer(self, path: str, scope: Scope, receive: Receive) -> Any:
        self._authorize(scope)
        match path, scope["method"]:
            case "/justitia/state", "GET":
                return await _call_engine(scope, STATE_METHOD, _since(scope))
            case "/justitia/ranks", "POST":
                ranks = _ranks(await _read_body(receive))
                return {"reranked": await _call_engine(scope, RERANK_METHOD, ranks)}
            case (("/justitia/state" | "/justitia/ranks"), method):
                raise RouteError(HTTPStatus.METHOD_NOT_ALLOWED, "invalid_request", f"{method} is not for {path}")
            case _:
                raise RouteError(HTTPStatus.NOT_FOUND, "invalid_request", f"no such route: {path}")

    def _authorize(self, scope: Scope) -> None:
        if self._token:
            scheme, _, token = _header(scope, b"authorization").partition(b" ")
            if scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token):
                return
            raise RouteError(
                HTTPStatus.UNAUTHORIZED, "authentication_failed", f"the token of {TOKEN_VARIABLE} is needed"
            )
        client = scope.get("client")
        # No client address: a Unix socket, whose permissions say who may connect.
        if client is not None and not _is_loopback(client[0]):
            raise RouteError(
                HTTPStatus.FORBIDDEN,
                "authentication_failed",
                f"set {TOKEN_VARIABLE} in the engine's environment to reach these routes from another machine",
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key.lower() == name), b"")


def _with_call_id(scope: Scope) -> Scope:
    """The call id beside the session id, for the one route (responses) whose request ids ignore X-Request-Id."""
    session_id = _header(scope, b"x-session-id")
    call_id = call_id_in(_header(scope, b"x-request-id").decode("latin-1"))
    if not session_id or not call_id:
        return scope
    stamped = session_id + CALL_ID_SEPARATOR.encode() + call_id.encode()
    headers = [(key, stamped if key.lower() == b"x-session-id" else value) for key, value in scope["headers"]]
    return {**scope, "headers": headers}


def _since(scope: Scope) -> int:
    values = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("since", ["0"])
    text = values[-1]
    # isdecimal also takes other alphabets' digits, which int() reads; the length keeps int() from reading a novel.
    if not (text.isdecimal() and len(text) <= 20 and int(text) < MAX_SEQUENCE):
        raise RouteError(HTTPStatus.BAD_REQUEST, "invalid_request", "since must be a whole number from 0 on")
    return int(text)


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RouteError(HTTPStatus.BAD_REQUEST, "invalid_request", "the client left before its body was complete")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RouteError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "payload_too_large", f"a body may have {MAX_BODY_BYTES} bytes"
            )
        if not message.get("more_body", False):
            return bytes(body)


def _ranks(body: bytes) -> dict[str, int]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RouteError(HTTPStatus.BAD_REQUEST, "invalid_request", f"the body is not JSON: {error}") from error
    ranks = document.get("ranks") if isinstance(document, dict) else None
    if not isinstance(ranks, dict):
        raise RouteError(
            HTTPStatus.BAD_REQUEST, "invalid_request", 'the body must be {"ranks": {application id: rank}}'
        )
    for application_id, rank in ranks.items():
        if not _is_application_id(application_id):
            message = f"an application id is 1 to {MAX_APPLICATION_ID_LENGTH} printable ASCII characters"
            raise RouteError(HTTPStatus.BAD_REQUEST, "invalid_request", message)
        if type(rank) is not int or not 0 <= rank < MAX_RANK:
            message = f"the rank of {application_id!r} must be a whole number in [0, 2**63)"
            raise RouteError(HTTPStatus.BAD_REQUEST, "invalid_request", message)
    return ranks


def _is_application_id(text: str) -> bool:
    return 0 < len(text) <= MAX_APPLICATION_ID_LENGTH and text.isascii() and text.isprintable()


async def _call_engine(scope: Scope, method: str, argument: Any) -> Any:
    try:
        engine_core = scope["app"].state.engine_client.engine_core
        return await asyncio.wait_for(engine_core.call_utility_async(method, argument), ENGINE_TIMEOUT_S)
    except TimeoutError as error:
        message = f"the engine did not answer within {ENGINE_TIMEOUT_S:g} s"
        raise RouteError(HTTPStatus.GATEWAY_TIMEOUT, "engine_timeout", message) from error
    except Exception as error:
        # A dead engine, or a server that was started without our scheduler: to the client it is one thing.
        logger.exception("Justitia: %s failed", method)
        message = f"the engine did not answer {method}: {error}"
        raise RouteError(HTTPStatus.SERVICE_UNAVAILABLE, "engine_unreachable", message) from error


async def _respond(send: Send, status: HTTPStatus, body: Any) -> None:
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": content})
