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
    engine = VllmEngine(server.url, EngineSettings(connect_timeout_s=1.0, silence_timeout_s=1.0, state_timeout_s=1.0))
    yield engine
    await engine.aclose()
