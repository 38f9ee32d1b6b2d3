from collections.abc import AsyncIterator

import pytest

from gateway.engines.vllm import VllmEngine
from gateway.settings import EngineSettings
from tests.fakes.engine import FakeVllm


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    async with FakeVllm() as server:
        yield server


@pytest.fixture
async def engine(server: FakeVllm) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(server.url, EngineSettings())
    yield engine
    await engine.aclose()
