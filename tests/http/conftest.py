from collections.abc import AsyncIterator

import pytest

from tests.fakes.engine import FakeVllm
from tests.http.gateways import RunningGateway, running_gateway


@pytest.fixture
async def engine() -> AsyncIterator[FakeVllm]:
    async with FakeVllm() as engine:
        yield engine


@pytest.fixture
async def gateway(engine: FakeVllm) -> AsyncIterator[RunningGateway]:
    async with running_gateway(engine) as gateway:
        yield gateway
