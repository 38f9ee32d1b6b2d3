"""vLLM as it comes, with its own priority policy: the coarser mode."""

from pathlib import Path

import pytest

from tests.end_to_end.applications import call, declare
from tests.fakes.running_engine import RunningEngine
from tests.fakes.running_gateway import running_gateway

pytestmark = pytest.mark.engine


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
