"""Calls through the whole gateway: real server, real composition, a scripted engine behind it."""

import asyncio
import json

import httpx
import pytest

from tests.fakes.engine import (
    COMPLETION,
    Conversation,
    FakeVllm,
    answers,
    ends,
    hangs,
    streams,
    streams_then,
    waits_for,
)
from tests.http.gateways import RunningGateway, running_gateway, until

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
EVENTS = [b'data: {"choices":[{"delta":{"content":"%d"},"finish_reason":null}]}\n\n' % i for i in range(3)]
USAGE_EVENT = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


# --- the way there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
@pytest.mark.parametrize("prefix", ["", "/apps/summary", "/apps/summary/runs/7", "//apps/summary"])
async def test_every_prefix_reaches_the_same_route(
    engine: FakeVllm, gateway: RunningGateway, prefix: str, path: str
) -> None:
    body = b' {"model" : "tiny", "unknown":[1.0]} '
    answer = await gateway.client.post(gateway.url + prefix + path, content=body)

    assert answer.status_code == 200
    assert json.loads(answer.content) == COMPLETION
    assert (engine.calls[0].path, engine.calls[0].body) == (path, body)


async def test_an_encoded_slash_stays_in_the_application_name(engine: FakeVllm, gateway: RunningGateway) -> None:
    answer = await gateway.client.post(f"{gateway.url}/apps/a%2Fv1%2Fb{CHAT}", json=ASK)
    assert answer.status_code == 200
    assert engine.calls[0].path == CHAT
    assert answer.headers["x-justitia-application"].startswith("x-")


async def test_the_engine_is_told_application_rank_and_call(engine: FakeVllm, gateway: RunningGateway) -> None:
    answer = await gateway.post(CHAT, ASK, headers={"X-Justitia-Application": "a"})

    call = engine.calls[0]
    assert call.header("x-session-id") == "anonymous/a"
    assert int(call.header("x-vllm-priority") or "") >= 0
    assert (call.header("x-request-id") or "").startswith("call-")
    assert answer.headers["x-justitia-application"] == "a"
    assert answer.headers["x-justitia-tenant"] == "anonymous"
    assert answer.headers["x-justitia-identity"] == "header"
    assert float(answer.headers["x-justitia-virtual-finish-time"]) > 0
    assert float(answer.headers["x-justitia-queue-ms"]) >= 0
    assert 0 < float(answer.headers["x-justitia-overhead-ms"]) < 100
    assert answer.headers["x-request-id"] == call.header("x-request-id")


async def test_nothing_that_steers_reaches_the_engine(engine: FakeVllm, gateway: RunningGateway) -> None:
    body = ASK | {"priority": -5, "vllm_xargs": {"a": 1}, "session_id": "x", "kv_transfer_params": {}, "top_k": 3}
    headers = {
        "X-Vllm-Priority": "-99999999999999999999999",
        "X-Session-ID": "stolen",
        "X-Request-Id": "mine",
        "X-Data-Parallel-Rank": "3",
        "Authorization": "Bearer client-key",
        "X-API-Key": "client-key",
    }
    answer = await gateway.post(CHAT, body, headers=headers)

    call = engine.calls[0]
    assert call.json() == ASK | {"top_k": 3}
    values = {value for _, value in call.headers}
    assert values.isdisjoint(set(headers.values()) | {"client-key"})
    assert not any("client-key" in value for value in values)
    assert answer.headers["x-request-id"] == "mine"


async def test_several_engines_share_the_models_route(engine: FakeVllm) -> None:
    async with FakeVllm(("tiny", "large")) as other, running_gateway(engine, other) as gateway:
        for prefix in ("", "/apps/a", "/apps/a/runs/b"):
            models = (await gateway.client.get(f"{prefix}/v1/models")).json()
            assert [model["id"] for model in models["data"]] == ["tiny", "large"]
        await other.stop()
        models = (await gateway.client.get("/v1/models")).json()
        assert [model["id"] for model in models["data"]] == ["tiny"]
        await engine.stop()
        answer = await gateway.client.get("/v1/models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_unreachable")


# --- the way back ---------------------------------------------------------------------------------------------------


async def test_an_engines_own_error_passes_untouched(engine: FakeVllm, gateway: RunningGateway) -> None:
    engine.on_call = answers({"error": {"message": "too long", "code": 400}}, 400, [("x-engine", "says")])
    answer = await gateway.post(CHAT, ASK | {"stream": True})
    assert (answer.status_code, answer.content) == (400, b'{"error": {"message": "too long", "code": 400}}')
    assert answer.headers["x-engine"] == "says"
    assert await gateway.metric("calls_total", outcome="completed") == 1


@pytest.mark.parametrize("asks", [True, False])
async def test_a_stream_is_what_the_client_would_have_got(
    engine: FakeVllm, gateway: RunningGateway, asks: bool
) -> None:
    engine.on_call = streams(*EVENTS, USAGE_EVENT, DONE)
    options = {"stream_options": {"include_usage": True}} if asks else {}
    answer = await gateway.post(CHAT, ASK | {"stream": True} | options)

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.content == b"".join([*EVENTS, USAGE_EVENT, DONE] if asks else [*EVENTS, DONE])
    assert engine.calls[0].json()["stream_options"] == {"include_usage": True}


async def test_events_come_while_the_engine_still_works(engine: FakeVllm, gateway: RunningGateway) -> None:
    more = asyncio.Event()
    engine.on_call = streams_then(EVENTS[:1], waits_for(more, ends))
    async with gateway.client.stream("POST", CHAT, json=ASK | {"stream": True}) as answer:
        assert await anext(answer.aiter_raw()) == EVENTS[0]
        more.set()


async def test_usage_settles_what_a_call_has_cost() -> None:
    """Of a stock engine, whose only account it is: p*d + d(d+1)/2."""
    async with FakeVllm(is_patched=False) as stock, running_gateway(stock) as gateway:
        for script, ask in (
            (answers(COMPLETION), ASK),
            (streams(*EVENTS, USAGE_EVENT, DONE), ASK | {"stream": True}),
        ):
            stock.on_call = script
            await gateway.post("/apps/a" + CHAT, ask)
        described = (await gateway.client.get("/v1/applications/a")).json()
        assert described["service"] == 2 * (7 * 3 + 3 * 4 / 2)


async def test_a_large_answer_passes_whole(engine: FakeVllm, gateway: RunningGateway) -> None:
    large = COMPLETION | {"filler": "x" * (5 * 2**20)}
    engine.on_call = answers(large)
    answer = await gateway.post(CHAT, ASK)
    assert answer.content == json.dumps(large).encode()


async def test_an_answer_without_a_body(engine: FakeVllm, gateway: RunningGateway) -> None:
    async def nothing(conversation: Conversation) -> None:
        await conversation.answer(200, b"", [])

    engine.on_call = nothing
    answer = await gateway.post(CHAT, ASK)
    assert (answer.status_code, answer.content) == (200, b"")


# --- clients that leave ---------------------------------------------------------------------------------------------


async def leave(call: asyncio.Task[httpx.Response]) -> None:
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_a_client_that_leaves_before_the_answer(engine: FakeVllm, gateway: RunningGateway) -> None:
    engine.on_call = hangs
    call = asyncio.create_task(gateway.post(CHAT, ASK))
    received = await engine.call_arrived()
    await leave(call)

    async with asyncio.timeout(1):
        await received.hung_up.wait()
    await until(lambda: _has_ended(gateway, "cancelled"))


async def test_a_client_that_leaves_within_a_stream(engine: FakeVllm, gateway: RunningGateway) -> None:
    engine.on_call = streams_then(EVENTS, hangs)
    async with gateway.client.stream("POST", CHAT, json=ASK | {"stream": True}) as answer:
        await anext(answer.aiter_raw())

    async with asyncio.timeout(1):
        await engine.calls[0].hung_up.wait()
    await until(lambda: _has_ended(gateway, "cancelled"))


async def test_a_client_that_leaves_the_queue(engine: FakeVllm) -> None:
    engine.on_call, engine.is_full = hangs, True
    async with running_gateway(engine, scheduling={"dispatch_margin_calls": 1}) as gateway:
        first = asyncio.create_task(gateway.post("/apps/a" + CHAT, ASK))
        await engine.call_arrived()
        await engine.was_read()
        second = asyncio.create_task(gateway.post("/apps/a" + CHAT, ASK))
        await until(lambda: _is(gateway, "calls_queued", 1))
        await leave(second)
        await until(lambda: _has_ended(gateway, "cancelled"))

        assert await gateway.metric("calls_running") == 1
        assert len(engine.calls) == 1
        await leave(first)


async def _has_ended(gateway: RunningGateway, outcome: str) -> bool:
    return await gateway.metric("calls_total", outcome=outcome) == 1


async def _is(gateway: RunningGateway, name: str, value: float) -> bool:
    return await gateway.metric(name) == value
