import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from gateway.engines.vllm import VllmEngine
from gateway.settings import EngineSettings
from tests.fakes.engine import FakeVllm


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The client's protocols stand on the loop's own transports, and a gateway runs on uvloop where there is one."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    async with FakeVllm() as server:
        yield server


@pytest.fixture
async def engine(server: FakeVllm) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(server.url, EngineSettings())
    yield engine
    await engine.aclose()
