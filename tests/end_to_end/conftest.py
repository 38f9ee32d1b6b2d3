"""Gateways in processes of their own in front of the one real engine; and what its trace says about order."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.running_engine import RunningEngine
from tests.fakes.running_gateway import RunningGateway, running_gateway


@pytest.fixture
def gateway(engine: RunningEngine, tmp_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path, "--engine", engine.url) as gateway:
        yield gateway
