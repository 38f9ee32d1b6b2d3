"""One gateway under load and the Prometheus that watches it, for all tests of dashboards and alerts."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deploy.observed import Engine, Prometheus, learning, load, made_keys, prometheus
from tests.fakes.running_gateway import running_gateway


@dataclass(frozen=True)
class Observed:
    prometheus: Prometheus
    as_of: float
    """Unix seconds: when everything had happened that is looked for."""


def demand(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing: in CI that is a failure, not a reason to skip")
            pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def promtool() -> str:
    demand("promtool")
    return "promtool"


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A predictor was trained and used, calls failed, every tenant was served: every series has been there."""
    demand("prometheus")
    folder = tmp_path_factory.mktemp("observed")
    keys = made_keys(folder / "keys.json")
    with (
        Engine() as engine,
        running_gateway(folder, "--engine", engine.vllm.url, environment=learning(folder)) as gateway,
        prometheus(folder, [gateway.url], scrape_interval_s=1) as watching,
    ):
        calls = engine.start(load(gateway.url, keys))
        try:
            watching.until(lambda: _everything_has_happened(watching) or calls.done())
            assert not calls.done(), calls.exception()
            yield Observed(watching, time.time())
        finally:
            calls.cancel()


def _everything_has_happened(watching: Prometheus) -> bool:
    wanted = (
        "justitia_prediction_drift_ratio",
        "increase(justitia_prediction_interval_total[1m]) > 0",
        'increase(justitia_calls_total{outcome="failed"}[1m]) > 0',
        "count(justitia_calls_queued offset 15s)",
    )
    return all(watching.query(expr) for expr in wanted)
