from collections.abc import AsyncIterator

import pytest

from tests.fakes.engine import FakeVllm
from tests.tracing.collectors import Collector


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A gateway that is made now sends to it, at once."""
    async with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@pytest.fixture
async def engine() -> AsyncIterator[FakeVllm]:
    async with FakeVllm() as engine:
        yield engine
