"""A client of ours and a server that a test scripts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.engines.origin import Origin
from gateway.engines.response import UpstreamResponse
from gateway.engines.upstream import Upstream
from tests.engines.raw_engine import RawEngine, Talk

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LARGE = b"0123456789abcdef" * 2**20
"""16 MiB: more than any buffer on the way holds."""


class World:
    def __init__(self, engine: RawEngine, upstream: Upstream) -> None:
        self.engine = engine
        self.upstream = upstream

    async def send(self, body: bytes = b"ask", method: str = "POST") -> UpstreamResponse:
        return await self.upstream.send(method, b"/v1/completions", [(b"content-type", b"text/plain")], body)

    async def call(self, body: bytes = b"ask", method: str = "POST") -> tuple[int, bytes]:
        response = await self.send(body, method)
        try:
            return response.status, await response.read(2**26)
        finally:
            await response.aclose()


@asynccontextmanager
async def world(talk: Talk, silence_timeout_s: float = 20.0) -> AsyncIterator[World]:
    async with asyncio.timeout(20), RawEngine(talk) as engine:
        upstream = Upstream(Origin.of(engine.url), 5.0, silence_timeout_s)
        yield World(engine, upstream)
        await upstream.aclose()
