"""What an HTTP client towards an engine costs: four of them on one interface, side by side.

    python -m benchmarks.upstream_clients            writes benchmarks/results/upstream_clients.json

`httpx` is httpx.AsyncClient, `httpx transport` its transport interface over aiohttp (httpx-aiohttp) without a client
around it, `aiohttp` a ClientSession, `own` is `gateway.engines.upstream`, `engine` the same under `VllmEngine.send`,
which adds the headers of a call. A client whose package is not installed is left out (aiohttp, httpx-aiohttp).

They ask, 32 at a time over kept connections, a server that answers at once: a protocol of some lines on uvloop, in a
process of its own, one write an answer. A unary answer is a completion of 256 tokens' text; a stream is 32 events, each
a chunk, in four writes. Rounds alternate, and figures are medians over rounds: ratios within one run are what counts,
the absolute ones are the machine's. CPU is this process's own, so the server's does not count.
"""

import argparse
import asyncio
import gc
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, cast

import httpx
import uvloop

from gateway.demo.surroundings import StolenTime, machine, versions
from gateway.engines.origin import Origin
from gateway.engines.upstream import Upstream
from gateway.engines.vllm import VllmEngine
from gateway.fairness.units import ApplicationId
from gateway.ports import EngineRequest
from gateway.settings import EngineSettings

RESULT = Path(__file__).parent / "results" / "upstream_clients.json"
CONCURRENCY = 32
NUM_EVENTS = 32
UNARY, STREAM = "/v1/completions", "/v1/chat/completions"
ROUND_S = 1.0

BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "word " * 200}]}).encode()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"user-agent", b"OpenAI/Python 2.8.0"),
    (b"x-stainless-lang", b"python"),
    (b"x-stainless-retry-count", b"0"),
    (b"accept-encoding", b"identity"),
    (b"x-session-id", b"tenant/application"),
    (b"x-request-id", b"call-0123456789abcdef"),
]

# --- the server ---

COMPLETION = json.dumps({"id": "cmpl-1", "model": "tiny", "choices": [{"index": 0, "text": "word " * 256}]}).encode()
EVENT = b'data: {"id":"cmpl-1","choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: uvicorn\r\n"
UNARY_ANSWER = HEAD + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(COMPLETION), COMPLETION)
STREAM_HEAD = HEAD + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
BURST = b"%x\r\n%b\r\n" % (len(EVENT), EVENT) * (NUM_EVENTS // 4)


class Answering(asyncio.Protocol):
    """Enough HTTP for these clients: heads end in an empty line, bodies have a length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            self._received = b""
            if UNARY.encode() in head:
                self._transport.write(UNARY_ANSWER)
            else:
                self._burst(STREAM_HEAD, 4)

    def _burst(self, before: bytes, num_left: int) -> None:
        end = b"0\r\n\r\n" if num_left == 1 else b""
        self._transport.write(before + BURST + end)
        if num_left > 1:
            self._loop.call_soon(self._burst, b"", num_left - 1)


def serve(ready: Pipe) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, ready.recv_bytes)

    uvloop.run(run())


# --- the clients ---

Ask = Callable[[str], Awaitable[int]]
"""One call: sends BODY to the path and answers how many bytes came."""


@asynccontextmanager
async def httpx_client(url: str) -> AsyncIterator[Ask]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:

        async def ask(path: str) -> int:
            async with client.stream("POST", path, headers=HEADERS, content=BODY) as response:
                return sum([len(chunk) async for chunk in response.aiter_raw()])

        yield ask


@asynccontextmanager
async def httpx_transport(url: str) -> AsyncIterator[Ask]:
    import aiohttp
    from httpx_aiohttp import AiohttpTransport

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    urls = {path: httpx.URL(url + path) for path in (UNARY, STREAM)}
    extensions = {"timeout": {"connect": 5.0, "read": 600.0}}
    async with AiohttpTransport(client=session, trust_env=False) as transport:

        async def ask(path: str) -> int:
            request = httpx.Request("POST", urls[path], headers=HEADERS, content=BODY, extensions=extensions)
            response = await transport.handle_async_request(request)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            try:
                return sum([len(chunk) async for chunk in response.stream])
            finally:
                await response.aclose()

        yield ask


@asynccontextmanager
async def aiohttp_client(url: str) -> AsyncIterator[Ask]:
    import aiohttp
    from yarl import URL

    urls = {path: URL(url + path) for path in (UNARY, STREAM)}
    headers = [(name.decode(), value.decode()) for name, value in HEADERS]
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0)
    timeout = aiohttp.ClientTimeout(sock_connect=5.0, sock_read=600.0)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, auto_decompress=False
    ) as session:

        async def ask(path: str) -> int:
            async with session.post(urls[path], data=BODY, headers=headers, allow_redirects=False) as response:
                return sum([len(chunk) async for chunk in response.content.iter_any()])

        yield ask


@asynccontextmanager
async def own_client(url: str) -> AsyncIterator[Ask]:
    origin = Origin.of(url)
    upstream = Upstream(origin, 5.0, 600.0)

    async def ask(path: str) -> int:
        response = await upstream.send("POST", origin.target(path), HEADERS, BODY)
        try:
            return sum([len(chunk) async for chunk in response.chunks()])
        finally:
            await response.aclose()

    yield ask
    await upstream.aclose()


@asynccontextmanager
async def engine_client(url: str) -> AsyncIterator[Ask]:
    engine = VllmEngine(url, EngineSettings())
    headers: Any = tuple(HEADERS[:5])
    application_id = ApplicationId("tenant/application")

    async def ask(path: str) -> int:
        response = await engine.send(EngineRequest("POST", path, headers, BODY, "call-0", application_id, 2.5))
        try:
            return sum([len(chunk) async for chunk in response.chunks()])
        finally:
            await response.aclose()

    yield ask
    await engine.aclose()


CLIENTS = {
    "httpx": httpx_client,
    "httpx transport": httpx_transport,
    "aiohttp": aiohttp_client,
    "own": own_client,
    "engine": engine_client,
}
NEEDS = {"httpx transport": "httpx-aiohttp", "aiohttp": "aiohttp"}

# --- measuring ---


async def measure(ask: Ask, path: str, expected: int, round_s: float) -> dict[str, float]:
    latencies: list[float] = []

    async def go_on(until: float) -> None:
        while (began := time.perf_counter()) < until:
            assert await ask(path) == expected
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*[go_on(time.perf_counter() + 0.2) for _ in range(CONCURRENCY)])
    latencies.clear()
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[go_on(began + round_s) for _ in range(CONCURRENCY)])
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    latencies.sort()
    return {
        "calls_per_s": len(latencies) / elapsed,
        "cpu_us_per_call": 1e6 * cpu / len(latencies),
        "p50_ms": 1e3 * statistics.median(latencies),
        "p99_ms": 1e3 * latencies[len(latencies) * 99 // 100],
    }


async def compare(url: str, names: list[str], num_rounds: int, round_s: float) -> list[dict[str, Any]]:
    expected = {UNARY: len(COMPLETION), STREAM: NUM_EVENTS * len(EVENT)}
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(num_rounds):
        for name in names:
            async with CLIENTS[name](url) as ask:
                for path in (UNARY, STREAM):
                    found.setdefault((path, name), []).append(await measure(ask, path, expected[path], round_s))
    return [
        {"kind": "unary" if path == UNARY else f"stream of {NUM_EVENTS} events", "client": name}
        | {key: round(statistics.median(row[key] for row in rounds), 2) for key in rounds[0]}
        for (path, name), rounds in sorted(found.items())
    ]


def installed() -> list[str]:
    return [name for name in CLIENTS if name not in NEEDS or importlib.util.find_spec(NEEDS[name].replace("-", "_"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-s", type=float, default=ROUND_S)
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    stolen = StolenTime()
    url = f"http://127.0.0.1:{ours.recv()}"
    rows = uvloop.run(compare(url, installed(), arguments.rounds, arguments.round_s))
    ours.send_bytes(b"end")
    server.join()
    packages = {name: importlib.metadata.version(name) for name in ("httpx", "httptools", "uvloop")}
    packages |= {package: importlib.metadata.version(package) for name, package in NEEDS.items() if name in installed()}
    report = {
        "machine": machine(),
        "versions": versions() | packages,
        "stolen_share": stolen.share(),
        "load_average": round(os.getloadavg()[0], 1),
        "concurrency": CONCURRENCY,
        "rounds": arguments.rounds,
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
