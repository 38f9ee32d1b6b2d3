"""Real client libraries, a gateway, and behind it an engine whose model calls tools by a script, or the real one."""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import pytest

from tests.end_to_end.clients.fronts import RealFront, ScriptedFront
from tests.end_to_end.clients.grouping import ANSWER, QUERY, SECOND_ANSWER
from tests.fakes.protocols.turns import calls, says
from tests.fakes.running_engine import RunningEngine
from tests.fakes.running_gateway import RunningGateway as GatewayProcess
from tests.fakes.running_gateway import running_gateway as gateway_process
from tests.fakes.scripted_vllm import ScriptedVllm
from tests.http.gateways import running_gateway

_QUIET = {
    "DO_NOT_TRACK": "1",
    "LANGSMITH_TRACING": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "AUTOGEN_DISABLE_RUNTIME_TRACING": "true",
}
_CLIENTS_OWN = ("OPENAI_", "ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_")


@pytest.fixture(autouse=True)
def _quiet_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No telemetry: whoever looks up another host is told there is none, and the test fails at its end."""
    for name in [name for name in os.environ if name.startswith(_CLIENTS_OWN)]:
        monkeypatch.delenv(name)
    for name, value in _QUIET.items():
        monkeypatch.setenv(name, value)
    strangers: list[object] = []
    look_up = socket.getaddrinfo

    def guarded(host: Any, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1", None):
            strangers.append(host)
            raise socket.gaierror(socket.EAI_NONAME, f"no host but this one in a test: {host}")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    yield
    assert strangers == []


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedVllm]:
    """A model that looks one thing up, answers, and answers what is asked after that."""
    engine = ScriptedVllm(calls("search", query=QUERY), says(ANSWER), says(SECOND_ANSWER))
    async with engine:
        yield engine


@pytest.fixture
async def front(scripted: ScriptedVllm) -> AsyncIterator[ScriptedFront]:
    """The gateway before it."""
    async with running_gateway(scripted) as gateway:
        yield ScriptedFront(gateway, scripted)


@pytest.fixture(scope="session")
def gateway_of_clients(engine: RunningEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One process before the real engine for all of them: starting it takes longer than most of their programs."""
    folder = tmp_path_factory.mktemp("gateway")
    environment = {"XDG_STATE_HOME": str(folder), "JUSTITIA_LEARNING__TRAINS": "false"}
    with gateway_process(folder, "--engine", engine.url, environment=environment) as gateway:
        yield gateway


@pytest.fixture
def real_front(engine: RunningEngine, gateway_of_clients: GatewayProcess) -> RealFront:
    return RealFront(gateway_of_clients.url, f"key-{next(_NUMBERS)}", engine)


_NUMBERS = count()
