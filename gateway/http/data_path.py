"""Calls, taken out before the framework sees them: plain ASGI, routed by the path as it was sent.

The path is matched undecoded and without its /apps/… prefix (`gateway.identity` reads that), so an application's name
may contain an encoded slash.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ClientDisconnected, GatewayError
from gateway.http.errors import MethodNotAllowed
from gateway.http.exchange import Exchange
from gateway.http.openai import OpenAiApi
from gateway.identity.paths import read_path

Handler = Callable[[Exchange], Awaitable[None]]


class DataPath:
    """ASGI middleware; what is not its own goes on to `app`."""

    def __init__(self, app: ASGIApp, openai: OpenAiApi) -> None:
        self._app = app
        self._routes: Mapping[str, tuple[str, Handler]] = {
            "/v1/chat/completions": ("POST", openai.call),
            "/v1/completions": ("POST", openai.call),
            "/v1/models": ("GET", openai.models),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = Exchange(scope, receive, send)
        route = self._routes.get(read_path(exchange.path).upstream_path)
        if route is None:
            return await self._app(scope, receive, send)
        try:
            await self._serve(exchange, *route)
        except ClientDisconnected:
            return None  # nobody is there to be told
        except GatewayError as error:
            await exchange.fail(error)

    async def _serve(self, exchange: Exchange, method: str, handler: Handler) -> None:
        if exchange.method != method:
            raise MethodNotAllowed(exchange.method, method)
        await handler(exchange)
