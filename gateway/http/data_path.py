"""Calls, taken out before the framework sees them: plain ASGI, routed by the path as it was sent.

The path is matched undecoded and without its /apps/… prefix (`gateway.identity` reads that), so an application's name
may contain an encoded slash.
"""

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import AuthenticationFailed, ClientDisconnected, GatewayError
from gateway.http.apis import APIS
from gateway.http.calls import Calls
from gateway.http.direct import Direct
from gateway.http.errors import MethodNotAllowed, UnexpectedError
from gateway.http.exchange import Exchange
from gateway.identity.paths import read_path
from gateway.metrics import Metrics

_STORED_RESPONSE = re.compile(r"/v1/responses/[A-Za-z0-9_.:-]{1,256}(/cancel)?")
"""Ids as engines make them. Not `.` and `..`: `_route` refuses these."""


class DataPath:
    """ASGI; what is not its own goes on to `app`."""

    def __init__(self, app: ASGIApp, calls: Calls, direct: Direct, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._calls = calls
        self._direct = direct
        self._call_ids = _call_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = Exchange(scope, receive, send, self._call_ids)
        route = self._route(exchange, read_path(exchange.path).upstream_path)
        if route is None:
            return await self._app(scope, receive, send)
        method, serve = route
        try:
            if exchange.method != method:
                raise MethodNotAllowed(exchange.method, method)
            await serve()
        except ClientDisconnected:
            return None  # nobody is there to be told
        except GatewayError as error:
            if isinstance(error, AuthenticationFailed):
                self._metrics.unauthenticated()
            await exchange.fail(error)
        except Exception:  # a fault of ours: the client gets an answer, the server's log the rest
            await exchange.fail(UnexpectedError())
            raise

    def _route(self, exchange: Exchange, path: str) -> tuple[str, Callable[[], Awaitable[None]]] | None:
        """(method, what serves it)."""
        api = APIS.get(path)
        if api is not None:
            exchange.error_shape = api.error_shape
            serve = self._calls.serve if api.takes_turn else self._direct.ask
            return "POST", lambda: serve(exchange, api)
        if path == "/v1/models":
            return "GET", lambda: self._direct.models(exchange)
        stored = _STORED_RESPONSE.fullmatch(path)
        if stored is not None and path.rpartition("/")[2].strip("."):
            return "POST" if stored[1] else "GET", lambda: self._direct.stored_response(exchange, path)
        return None


def _call_ids() -> Iterator[str]:
    """Each its own everywhere: digits of this process, and a number. To draw all of them anew for every call would take
    a system call each."""
    process = secrets.token_hex(8)
    return (f"call-{process}{number:016x}" for number in itertools.count())
