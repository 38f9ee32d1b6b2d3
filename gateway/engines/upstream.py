"""The HTTP client towards one engine: httpx's transport interface over aiohttp.

httpx's own pool scans every connection at each request and collapses under some dozens of concurrent streams;
aiohttp's does not. The transport is used without a client around it: no redirects, cookies, retries or proxies are
wanted here, and `AsyncClient.send` costs more than the transport itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from gateway.errors import EngineError, EngineTimeout, EngineUnreachable

KEEP_ALIVE_S = 2.0
"""Idle connections are given up before the engine does it (vLLM: 5 s), so that no call is sent down a connection that
the engine is closing: whether it was read there nobody could tell, and it must not be sent twice."""

# Whatever aiohttp raises comes through httpx_aiohttp either mapped or, where its table has a gap, as it is.
TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)


class Upstream:
    def __init__(self, name: str, connect_timeout_s: float, silence_timeout_s: float) -> None:
        self._name = name
        self._timeout = {"connect": connect_timeout_s, "read": silence_timeout_s}
        self._transport = AiohttpTransport(client=_new_session, trust_env=False)

    async def send(
        self, method: str, url: httpx.URL, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> "UpstreamResponse":
        """Until the headers of the answer are here."""
        request = httpx.Request(method, url, headers=headers, content=body, extensions={"timeout": self._timeout})
        try:
            return UpstreamResponse(self._name, await self._transport.handle_async_request(request))
        except TRANSPORT_ERRORS as error:
            raise engine_error(self._name, error) from error

    async def aclose(self) -> None:
        await self._transport.aclose()


class UpstreamResponse:
    """An answer that has begun; implements `gateway.ports.EngineResponse`."""

    def __init__(self, engine: str, response: httpx.Response) -> None:
        self._engine = engine
        self._response = response
        self.status = response.status_code
        self.headers = response.headers.raw

    async def chunks(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        try:
            async for chunk in self._response.stream:
                yield chunk
        except TRANSPORT_ERRORS as error:
            raise engine_error(self._engine, error) from error

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body, of an answer that should be short."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > limit_bytes:
                raise EngineUnreachable(f"engine {self._engine}: an answer of more than {limit_bytes} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Closes the connection if the body is unread, which is what aborts the call in the engine."""
        with contextlib.suppress(*TRANSPORT_ERRORS):  # hanging up on someone who has hung up
            await self._response.aclose()


def engine_error(engine: str, error: Exception) -> EngineError:
    """Silence is a timeout; all else, a connection that could not be opened in time too, is unreachable."""
    # httpx_aiohttp calls every broken connection a ConnectTimeout; only aiohttp's own error tells.
    cause = error.__cause__ or error
    is_connecting = isinstance(cause, aiohttp.ConnectionTimeoutError)
    if isinstance(cause, asyncio.TimeoutError) and not is_connecting:
        return EngineTimeout(f"engine {engine} has been silent for too long")
    reason = "no connection in time" if is_connecting else str(cause) or type(cause).__name__
    return EngineUnreachable(f"engine {engine} cannot be reached or broke off: {reason}")


def _new_session() -> aiohttp.ClientSession:
    """Made at the first request, inside the loop. No limit of connections: the scheduler is what limits calls."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),  # one client's cookies are not another's
    )
