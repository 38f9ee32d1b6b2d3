"""vLLM as it comes, with its own priority policy: the coarser mode."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.tiny_model import ensure_tiny_model
from tests.end_to_end.applications import call, declare
from tests.fakes.running_engine import SMALL, RunningEngine
from tests.fakes.running_gateway import running_gateway

pytestmark = pytest.mark.engine


@pytest.fixture
def stock_engine(engine: RunningEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEngine]:
    """`engine` first: it demands that vLLM is there."""
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")  # so that it tells its policy
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    model = ensure_tiny_model(tmp_path / "tiny")
    flags = ("--served-model-name", "tiny", "--load-format", "dummy", "--enforce-eager", "--block-size", "32")
    module = ("vllm.entrypoints.openai.api_server", "--model", str(model), "--scheduling-policy", "priority")
    running = RunningEngine(tmp_path, *flags, *SMALL, module=module)
    yield running
    running.stop()


async def test_an_unpatched_engine_is_ordered_and_charged_by_formula(
    stock_engine: RunningEngine, tmp_path: Path
) -> None:
    with running_gateway(tmp_path, "--engine", stock_engine.url) as gateway:
        await declare(gateway, "a", 5000.0)
        async with gateway.client() as client:
            assert list((await client.get("/readyz")).json()["engines"].values()) == ["priority"]
            response = await call(client, "a", prompt_words=10, max_tokens=8)
            assert response.status_code == 200
            usage = response.json()["usage"]
            prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
            closed = (await client.post("/v1/applications/a/close")).json()
        assert closed["service"] == prompt * output + output * (output + 1) / 2
        assert "mode priority" in gateway.log()
