"""Calls that wait for their turn: how they are told, how long they may, and what their tenant may have."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.identity.tenants import KeyRing, LiveKeys, key_digest
from gateway.identity.terms import TenantTerms
from tests.fakes.engine import COMPLETION, FakeVllm, answers, hangs, streams
from tests.http.gateways import RunningGateway, running_gateway, until

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'


@pytest.fixture
async def full(engine: FakeVllm) -> AsyncIterator[RunningGateway]:
    """Its engine has taken one call and takes no other."""
    settings = {"server": {"stream_comment_interval_s": 0.05}, "scheduling": {"dispatch_margin_calls": 1}}
    async with running_gateway(engine, **settings) as gateway:  # type: ignore[arg-type]
        engine.on_call, engine.is_full = hangs, True
        await engine.was_read()
        inside = [asyncio.create_task(gateway.post(CHAT, ASK)) for _ in range(8)]
        await until(lambda: gateway.dispatcher.num_applications == 8)
        await engine.was_read()
        try:
            yield gateway
        finally:
            for task in inside:
                task.cancel()
            await asyncio.gather(*inside, return_exceptions=True)


async def test_a_stream_that_waits_gets_comments_and_then_its_answer(engine: FakeVllm, full: RunningGateway) -> None:
    comments: list[bytes] = []
    async with full.client.stream("POST", CHAT, json=ASK | {"stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        while len(comments) < 3:
            line = await anext(lines)
            comments += [line.encode()] if line else []
        engine.on_call, engine.is_full = streams(EVENT, b"data: [DONE]\n\n"), False
        rest = [line async for line in lines if line and not line.startswith(":")]
    assert all(comment.startswith(b": waiting, ") and b" ahead" in comment for comment in comments)
    assert rest == [EVENT.decode().strip(), "data: [DONE]"]


async def test_what_goes_wrong_after_a_comment_is_an_event(engine: FakeVllm, full: RunningGateway) -> None:
    async with full.client.stream("POST", CHAT, json=ASK | {"stream": True}) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith(": waiting")
        error = {"error": {"message": "too long", "code": 400}}
        engine.on_call, engine.is_full = answers(error, 400), False
        rest = [line async for line in lines if line and not line.startswith(":")]
    [event] = rest
    assert event.startswith("data: ")
    assert json.loads(event.removeprefix("data: ")) == {"error": {"message": "too long", "code": 400}}


async def test_without_a_stream_nothing_is_sent_before_the_answer(engine: FakeVllm, full: RunningGateway) -> None:
    waiting = asyncio.create_task(full.post(CHAT, ASK | {"model": "tiny"}, headers={"X-Justitia-Application": "w"}))
    await until(lambda: full.dispatcher.num_applications == 9)
    described = (await full.client.get("/v1/applications/w")).json()
    assert (described["calls_waiting"], described["calls_ended"]) == (1, 0)
    assert "expected_wait_s" in described
    engine.on_call, engine.is_full = answers(COMPLETION), False
    answer = await waiting
    assert answer.json() == COMPLETION
    assert float(answer.headers["x-justitia-queue-ms"]) > 0
    described = (await full.client.get("/v1/applications/w")).json()
    assert (described["calls_ended"], described["prompt_tokens"], described["completion_tokens"]) == (1, 7, 3)


async def test_a_deadline_ends_the_wait(full: RunningGateway) -> None:
    answer = await full.post(CHAT, ASK, headers={"X-Justitia-Deadline-Ms": "150"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_timeout")
    assert int(answer.headers["retry-after"]) >= 1
    for wrong in ("0", "-1", "soon", "nan", "inf"):
        answer = await full.post(CHAT, ASK, headers={"X-Justitia-Deadline-Ms": wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "X-Justitia-Deadline-Ms")


@pytest.fixture
async def keyed(engine: FakeVllm) -> AsyncIterator[RunningGateway]:
    """Of a tenant `capped`, whose calls run one at a time, and one `free`."""
    keys = {"sk-1": "capped", "sk-2": "free"}
    async with running_gateway(engine, tenants={"api_keys": keys}) as gateway:
        live = gateway.keys
        assert isinstance(live, LiveKeys)
        live.now = KeyRing(
            {key_digest(key): tenant for key, tenant in keys.items()},
            {"capped": TenantTerms(max_running_calls=1, max_waiting_calls=1, tokens_per_minute=1000)},
        )
        yield gateway


async def test_a_tenant_at_its_cap_waits_and_others_pass(engine: FakeVllm, keyed: RunningGateway) -> None:
    capped, free = {"Authorization": "Bearer sk-1"}, {"x-api-key": "sk-2"}
    engine.on_call = hangs
    first = asyncio.create_task(keyed.post(CHAT, ASK, headers=capped))
    await engine.call_arrived(1)
    second = asyncio.create_task(keyed.post(CHAT, ASK, headers=capped))
    await until(lambda: keyed.dispatcher.num_applications == 2)
    engine.on_call = answers(COMPLETION)
    third = await keyed.post(CHAT, ASK, headers=capped)
    assert (third.status_code, third.json()["error"]["code"]) == (429, "quota_exceeded")
    assert (await keyed.post(CHAT, ASK, headers=free)).status_code == 200
    assert len(engine.calls) == 2
    first.cancel()
    assert (await second).status_code == 200

    used = (await keyed.client.get("/v1/usage", headers=capped)).json()
    assert used["tenant"] == "capped"
    assert used["total"]["calls"] == {"completed": 1, "cancelled": 1, "rejected": 1}
    assert (used["total"]["prompt_tokens"], used["today"]["completion_tokens"]) == (7, 3)
    assert used["limits"]["max_running_calls"] == 1
    assert (await keyed.client.get("/v1/usage", headers=free)).json()["total"]["calls"] == {"completed": 1}
    assert (await keyed.client.get("/v1/usage")).status_code == 401


async def test_a_quota_says_when_it_will_have_room(engine: FakeVllm, keyed: RunningGateway) -> None:
    capped = {"Authorization": "Bearer sk-1"}
    engine.on_call = answers(COMPLETION | {"usage": {"prompt_tokens": 900, "completion_tokens": 600}})
    assert (await keyed.post(CHAT, ASK, headers=capped)).status_code == 200
    answer = await keyed.post(CHAT, ASK, headers=capped)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    assert 25 <= int(answer.headers["retry-after"]) <= 60
