"""What a client sees when the engine fails, at every point at which it can."""

import json

import httpx
import pytest

from tests.fakes.engine import COMPLETION, Conversation, FakeVllm, Script, hangs, resets, streams_then
from tests.http.gateways import RunningGateway, running_gateway, until

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": []}
EVENT = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n'
SILENT = {"silence_timeout_s": 0.1}


async def closes(conversation: Conversation) -> None:
    """The script returns, and the connection is closed without a reset."""


def begins_body(then: Script) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.head(200, [("content-type", "application/json"), ("content-length", "1000")])
        await then(conversation)

    return script


def breaks_body(then: Script) -> Script:
    async def half(conversation: Conversation) -> None:
        await conversation.raw(b'{"choices":')
        await conversation.raw(b" " * 10)
        await then(conversation)

    return begins_body(half)


async def failed_once(gateway: RunningGateway) -> bool:
    return await gateway.metric("calls_total", outcome="failed") == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (resets, 502, "engine_unreachable"),
        (closes, 502, "engine_unreachable"),
        (hangs, 504, "engine_timeout"),
        (begins_body(resets), 502, "engine_unreachable"),
        (begins_body(hangs), 504, "engine_timeout"),
    ],
    ids=["reset", "closed", "silent", "reset after headers", "silent after headers"],
)
async def test_before_the_first_byte_it_is_an_error_of_its_own(
    engine: FakeVllm, script: Script, status: int, code: str, stream: bool
) -> None:
    engine.on_call = script
    async with running_gateway(engine, engines=SILENT) as gateway:
        answer = await gateway.post(CHAT, ASK | {"stream": stream}, headers={"X-Justitia-Application": "a"})

        assert answer.status_code == status
        assert answer.json()["error"]["code"] == code
        assert answer.json()["error"]["type"] == "engine_error"
        assert answer.headers["x-justitia-application"] == "a"
        assert await failed_once(gateway)


@pytest.mark.parametrize(
    ("then", "code"), [(resets, "engine_unreachable"), (closes, "engine_unreachable"), (hangs, "engine_timeout")]
)
@pytest.mark.parametrize("asks", [True, False])
async def test_within_a_stream_it_is_one_last_event(engine: FakeVllm, then: Script, code: str, asks: bool) -> None:
    engine.on_call = streams_then([EVENT, EVENT, b'data: {"choices":[{"del'], then)
    options = {"stream_options": {"include_usage": True}} if asks else {}
    async with running_gateway(engine, engines=SILENT) as gateway:
        answer = await gateway.post(CHAT, ASK | {"stream": True} | options)

        assert answer.status_code == 200
        *events, last, end = answer.content.split(b"\n\n")
        assert [event + b"\n\n" for event in events] == [EVENT, EVENT]
        assert end == b""
        error = json.loads(last.removeprefix(b"data: "))["error"]
        assert (error["code"], error["type"], error["param"]) == (code, "engine_error", None)
        assert await failed_once(gateway)


@pytest.mark.parametrize("then", [resets, closes, hangs])
async def test_within_a_body_the_connection_is_cut(engine: FakeVllm, then: Script) -> None:
    """Never an answer that looks complete."""
    engine.on_call = breaks_body(then)
    async with running_gateway(engine, engines=SILENT) as gateway:
        # One chunk is held back: whether the answer had begun decides between the two.
        try:
            answer = await gateway.post(CHAT, ASK)
        except httpx.RemoteProtocolError:
            pass
        else:
            assert answer.status_code in (502, 504)
        assert await failed_once(gateway)


async def test_a_body_cut_off_after_it_began(engine: FakeVllm, gateway: RunningGateway) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head(200, [("content-type", "application/json"), ("content-length", "1000000")])
        for _ in range(9):
            await conversation.raw(b" " * 100_000)
        conversation.reset()

    engine.on_call = script
    async with gateway.client.stream("POST", CHAT, json=ASK) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()
    assert await failed_once(gateway)


async def test_an_engine_that_is_down(engine: FakeVllm) -> None:
    async with running_gateway(engine, engines={"unreachable_grace_s": 0.1}) as gateway:
        await engine.stop()
        answer = await gateway.post(CHAT, ASK)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_unreachable")
        await until(lambda: _is_ready(gateway, 503))

        async with engine:
            await until(lambda: _is_ready(gateway, 200))
            answer = await gateway.post(CHAT, ASK)
            assert answer.json() == COMPLETION


async def _is_ready(gateway: RunningGateway, status: int) -> bool:
    return (await gateway.client.get("/readyz")).status_code == status


async def _runs_nothing(gateway: RunningGateway) -> bool:
    return await gateway.metric("calls_running") == 0


async def test_a_gateway_that_failed_a_call_serves_the_next(engine: FakeVllm, gateway: RunningGateway) -> None:
    for script in (resets, streams_then([EVENT], resets), closes):
        engine.on_call = script
        await gateway.post(CHAT, ASK | {"stream": True})
    engine.on_call = FakeVllm().on_call
    assert (await gateway.post(CHAT, ASK)).json() == COMPLETION
    await until(lambda: _runs_nothing(gateway))  # gauges follow ten times a second
