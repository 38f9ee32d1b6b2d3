"""A gateway behind the listening side of `justitia serve`, and clients that speak in bytes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx

from gateway.composition import compose
from gateway.listening import Listening, ListeningLimits
from gateway.server import GatewayServer, server_config
from gateway.settings import load_settings
from tests.fakes.engine import FakeVllm
from tests.http.gateways import RunningGateway, until

T = TypeVar("T")


class ListeningGateway(RunningGateway):
    listening: Listening

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def is_calm_again(self) -> None:
        """Nothing of any client is held: no call, no body, no connection in work."""

        async def is_calm() -> bool:
            counts = [await self.metric(name) for name in ("calls_queued", "calls_running")]
            return counts == [0, 0] and self.listening.num_incoming_bytes == 0

        await until(is_calm)


@asynccontextmanager
async def listening_gateway(
    engine: FakeVllm, limits: ListeningLimits | None = None, **groups: dict[str, object]
) -> AsyncIterator[ListeningGateway]:
    quick = {"urls": [engine.url], "poll_interval_s": 0.01, "idle_poll_interval_s": 0.05}
    server = {"port": 0, "drain_timeout_s": 1.0} | groups.pop("server", {})
    settings = load_settings({}, None, {"engines": quick, "server": server, **groups})
    gateway = compose(settings)
    listening = Listening(limits or ListeningLimits())
    serving = GatewayServer(server_config(gateway, settings, listening), gateway, listening, lambda: None)
    running = asyncio.create_task(serving._serve())  # without uvicorn's signal handlers
    await until(lambda: serving.started)
    url = f"http://127.0.0.1:{serving.servers[0].sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            found = ListeningGateway(url, gateway, client)
            found.listening = listening
            await until(lambda: len(gateway.dispatcher.models()) == len(engine.models))
            yield found
    finally:
        serving.should_exit = True
        await running


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body). Raises IncompleteReadError where the connection ends before."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return int(head[0].split(" ")[1]), headers, body

    async def rest(self) -> bytes:
        """Until the gateway closes."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""


@asynccontextmanager
async def raw_client(gateway: RunningGateway, *parts: bytes) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]), limit=2**20)
    try:
        client = Raw(reader, writer)
        await client.send(*parts)
        yield client
    finally:
        writer.close()


def head(path: str = "/v1/chat/completions", *headers: bytes, method: str = "POST", version: str = "1.1") -> bytes:
    first = f"{method} {path} HTTP/{version}".encode("latin-1")
    return b"\r\n".join([first, b"host: x", *headers, b"", b""])


def request(body: bytes, *headers: bytes, path: str = "/v1/chat/completions") -> bytes:
    return head(path, b"content-length: %d" % len(body), *headers) + body


@contextmanager
def gateway_beside(
    **groups: dict[str, object],
) -> Iterator[tuple[asyncio.AbstractEventLoop, ListeningGateway, FakeVllm]]:
    """One that runs in a thread of its own, for what waits without awaiting."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    async def start() -> tuple[ListeningGateway, FakeVllm, AsyncExitStack]:
        stack = AsyncExitStack()
        engine = await stack.enter_async_context(FakeVllm())
        return await stack.enter_async_context(listening_gateway(engine, **groups)), engine, stack

    gateway, engine, stack = run(start())
    try:
        yield loop, gateway, engine
    finally:
        run(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
