"""`justitia serve` as an operator starts it: with traces, and without anything of OpenTelemetry."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway import cli
from tests.fakes.engine import FakeVllm
from tests.fakes.running_gateway import RunningGateway
from tests.tracing.collectors import Collector, attributes

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}

_COMPOSED = """
import sys
from importlib.metadata import requires

# FastAPI (0.165, say) may need the interface itself; what stands behind it nobody may need.
of_fastapi = any(line.startswith("opentelemetry-api") for line in requires("fastapi"))
refused = "opentelemetry.sdk" if of_fastapi else "opentelemetry"

class Absent:
    def find_spec(self, name, path=None, target=None):
        if (name + ".").startswith(refused + "."):
            raise ModuleNotFoundError(name)

# Not ours alone look for it: redis-py takes the SDK where it finds it. Here nobody does, and nobody may need it.
sys.meta_path.insert(0, Absent())

from gateway.composition import compose
from gateway.settings import load_settings

compose(load_settings({}, None, {"engines": {"urls": ["http://127.0.0.1:1"]}, "logs": {"calls": "all"}}))
print([name for name in sys.modules if name == refused or name.startswith((refused + ".", "gateway.tracing."))])
"""


def test_off_means_that_nothing_is_imported() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", _COMPOSED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "['gateway.tracing.config']\n", done.stderr


async def test_a_process_sends_spans_and_its_log_knows_their_trace(collector: Collector, tmp_path: Path) -> None:
    async with FakeVllm() as engine:
        flags = ("--engine", engine.url, "--log-format", "json")
        environment = {"JUSTITIA_LOGS__CALLS": "all"}
        gateway = await asyncio.to_thread(RunningGateway, tmp_path, *flags, environment=environment)
        try:
            async with httpx.AsyncClient(timeout=30) as client:
                answer = await client.post(gateway.url + CHAT, json=ASK)
            [server] = (await collector.trace(3))["chat tiny"]
        finally:
            await asyncio.to_thread(gateway.stop)
    assert attributes(server)["justitia.request.id"] == answer.headers["x-request-id"]
    lines = [json.loads(line) for line in gateway.log().splitlines()]
    [call] = [line for line in lines if line["logger"] == "gateway.calls"]
    assert call["trace_id"] == server.trace_id.hex()
    assert call["request_id"] == answer.headers["x-request-id"]


def test_an_impossible_variable_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert cli.main(["serve", "--engine", "http://127.0.0.1:1"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("justitia serve: OTEL_EXPORTER_OTLP_PROTOCOL = 'grpc'")
    assert line.count("\n") == 1
