"""A stream through the gateway is, byte for byte, the stream that the engine would have sent without it."""

import re
from typing import Any

import httpx
import pytest

from tests.fakes.running_engine import RunningEngine
from tests.fakes.running_gateway import RunningGateway

pytestmark = pytest.mark.engine

CALLS_OWN = re.compile(rb'"id":"[^"]*"|"created":\d+')

OPTIONS: list[dict[str, Any]] = [
    {},
    {"stop": ["x"], "echo": True},
    {"return_token_ids": True},
    {"stream_options": {"include_usage": False}},
    {"stream_options": {"continuous_usage_stats": True}},
    {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
]


async def stream(url: str, path: str, body: dict[str, Any]) -> bytes:
    # One token: of several, an engine whose client is slow puts some into one event, and which is chance.
    body = body | {"model": "tiny", "max_tokens": 1, "temperature": 0, "stream": True}
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answer = await client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return CALLS_OWN.sub(b"", answer.content)


@pytest.mark.parametrize(
    ("path", "prompt"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Once upon"}),
    ],
)
async def test_the_same_bytes(
    engine: RunningEngine, gateway: RunningGateway, path: str, prompt: dict[str, Any]
) -> None:
    for options in OPTIONS:
        through = await stream(gateway.url, path, prompt | options)
        assert through == await stream(engine.url, path, prompt | options), options
        assert through.endswith(b"data: [DONE]\n\n")
