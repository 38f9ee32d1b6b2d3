"""Real client libraries, a gateway, and behind it an engine whose model calls tools by a script."""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.end_to_end.clients.grouping import ANSWER, QUERY, SECOND_ANSWER
from tests.fakes.protocols.turns import calls, says
from tests.fakes.scripted_vllm import ScriptedVllm
from tests.http.gateways import RunningGateway, running_gateway

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
async def front(scripted: ScriptedVllm) -> AsyncIterator[RunningGateway]:
    """The gateway before it."""
    async with running_gateway(scripted) as gateway:
        yield gateway
