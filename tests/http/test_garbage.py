"""An ended call is gone with the last of its bytes.

What refers to itself stays until Python looks for garbage among what has lived for long, which it seldom does
(`gateway.server`): until then it would keep each call's body, its connections and what was read from it.
"""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from gateway.errors import GatewayError
from tests.fakes.engine import COMPLETION, Conversation, FakeVllm, Script, answers, hangs, resets, streams_then
from tests.fakes.garbage import garbage
from tests.http.gateways import running_gateway

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Who are you?"}]}
EVENT = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n'
SEEN_LEAVING_S = 0.05
"""Longer than a gateway waits before it looks whether the client is still there."""


async def answers_late(conversation: Conversation) -> None:
    await asyncio.sleep(SEEN_LEAVING_S)
    await answers(COMPLETION)(conversation)


def streams_late(then: Script) -> Script:
    async def script(conversation: Conversation) -> None:
        await asyncio.sleep(SEEN_LEAVING_S)
        await streams_then([EVENT], then)(conversation)

    return script


@pytest.mark.parametrize(
    ("script", "ask", "headers", "status"),
    [
        pytest.param(answers_late, ASK, {}, 200, id="answered"),
        pytest.param(streams_late(Conversation.end_stream), ASK | {"stream": True}, {}, 200, id="streamed"),
        pytest.param(answers_late, {"model": "tiny", "messages": 3, "max_tokens": -1}, {}, 400, id="malformed"),
        pytest.param(answers_late, ASK | {"model": "unknown"}, {}, 404, id="unknown model"),
        pytest.param(hangs, ASK, {"X-Justitia-Deadline-Ms": "0.001"}, 503, id="too late"),
        pytest.param(resets, ASK, {}, 502, id="engine broke off"),
        pytest.param(hangs, ASK, {}, 504, id="engine was silent"),
        pytest.param(streams_late(resets), ASK | {"stream": True}, {}, 200, id="stream broke off"),
    ],
)
async def test_nothing_of_an_ended_call_is_left_to_the_collector(
    engine: FakeVllm, script: Script, ask: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    engine.on_call = script
    async with running_gateway(engine, engines={"silence_timeout_s": 0.3}) as gateway:
        with garbage() as left:
            answer = await gateway.post(CHAT, ask, headers=headers)
            await asyncio.sleep(SEEN_LEAVING_S)
        assert answer.status_code == status, answer.text
    assert not left


@pytest.mark.parametrize("script", [hangs, streams_late(hangs)], ids=["waiting", "within a stream"])
async def test_nothing_of_a_client_that_left(engine: FakeVllm, script: Script) -> None:
    engine.on_call = script
    async with running_gateway(engine) as gateway:
        with garbage() as left:
            with contextlib.suppress(httpx.TimeoutException):
                await gateway.post(CHAT, ASK | {"stream": True}, timeout=3 * SEEN_LEAVING_S)
            await asyncio.sleep(SEEN_LEAVING_S)
        assert await gateway.metric("calls_total", outcome="cancelled") == 1
    assert not left


async def test_nothing_of_one_that_was_made_anew(engine: FakeVllm) -> None:
    async with FakeVllm() as other:
        engine.on_call = other.on_call = resets
        async with running_gateway(engine, other) as gateway:
            with garbage() as left:
                answer = await gateway.post(CHAT, ASK)
                await asyncio.sleep(SEEN_LEAVING_S)
            assert answer.status_code == 502
            assert await gateway.metric("calls_total", outcome="retried") == 1
    assert not left


def test_what_refers_to_itself_is_seen() -> None:
    with garbage() as left:
        error = GatewayError("held")
        error.args = (error,)
        del error
    assert left == {"gateway.errors.GatewayError": 1}
