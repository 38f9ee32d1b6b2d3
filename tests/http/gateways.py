"""A whole gateway on a free port, for tests: the real composition under the real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from gateway.composition import Gateway, compose
from gateway.settings import Settings, load_settings
from tests.fakes.engine import FakeVllm


class RunningGateway:
    def __init__(self, url: str, gateway: Gateway, client: httpx.AsyncClient) -> None:
        self.url = url
        self.dispatcher = gateway.dispatcher
        self.keys = gateway.keys
        self.client = client

    async def post(self, path: str, json: object = None, **options: Any) -> httpx.Response:
        return await self.client.post(path, json=json, **options)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the series that have these labels."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [
            line for line in lines if line.partition("{")[0] == f"justitia_{name}" and all(w in line for w in wanted)
        ]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@asynccontextmanager
async def running_gateway(*engines: FakeVllm, **groups: dict[str, object]) -> AsyncIterator[RunningGateway]:
    """`groups` are groups of settings. Waits until every engine was read."""
    settings = _settings(engines, groups)
    gateway = compose(settings)
    quiet = {"log_config": None, "access_log": False, "ws": "none", "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(gateway.app, host="127.0.0.1", port=0, **quiet))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            running = RunningGateway(url, gateway, client)
            await until(lambda: len(gateway.dispatcher.models()) == len({m for e in engines for m in e.models}))
            yield running
    finally:
        server.should_exit = True
        await serving


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], timeout_s: float = 5.0) -> None:
    """Wait for something that has no event to wait for."""
    async with asyncio.timeout(timeout_s):
        while True:
            reached = condition()
            if await reached if isinstance(reached, Awaitable) else reached:
                return
            await asyncio.sleep(0.002)


def _settings(engines: tuple[FakeVllm, ...], groups: dict[str, dict[str, object]]) -> Settings:
    quick = {"urls": [engine.url for engine in engines], "poll_interval_s": 0.01, "idle_poll_interval_s": 0.05}
    groups["engines"] = quick | groups.get("engines", {})
    return load_settings({}, None, groups)
