"""The real client library, unchanged but for its base URL."""

import asyncio
import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.fakes.engine import Conversation, FakeVllm, hangs, resets, streams, streams_then
from tests.http.gateways import RunningGateway, running_gateway

MESSAGES = [{"role": "user", "content": "Hi"}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(choices: list[object], **more: object) -> bytes:
    message = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": choices} | more
    return b"data: " + json.dumps(message).encode() + b"\n\n"


PARTS = ["Grüß", " dich", " 🙂"]
EVENTS = [event([{"index": 0, "delta": {"content": part}, "finish_reason": None}]) for part in PARTS]
END = event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
STREAM = [*EVENTS, END, event([], usage=USAGE), b"data: [DONE]\n\n"]


def client_of(gateway: RunningGateway) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{gateway.url}/apps/demo/v1", api_key="any", max_retries=0)


async def test_a_chat(gateway: RunningGateway) -> None:
    async with client_of(gateway) as client:
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES)
        assert answer.choices[0].message.content == "Hello"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 10
        assert [model.id async for model in client.models.list()] == ["tiny"]


async def test_the_synchronous_client(engine: FakeVllm, gateway: RunningGateway) -> None:
    def talk() -> tuple[str, str]:
        with OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
            whole = client.chat.completions.create(model="tiny", messages=MESSAGES)
            engine.on_call = streams(*STREAM)
            parts = client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
            return whole.choices[0].message.content or "", "".join(c.choices[0].delta.content or "" for c in parts)

    assert await asyncio.to_thread(talk) == ("Hello", "".join(PARTS))


@pytest.mark.parametrize("asks", [True, False])
async def test_a_stream(engine: FakeVllm, gateway: RunningGateway, asks: bool) -> None:
    data = b"".join(STREAM)
    engine.on_call = streams(*(data[i : i + 7] for i in range(0, len(data), 7)))  # within characters, too
    options = {"stream_options": {"include_usage": True}} if asks else {}
    async with client_of(gateway) as client:
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, **options)
        chunks = [chunk async for chunk in stream]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "".join(PARTS)
    assert [c.usage.total_tokens for c in chunks if c.usage is not None] == ([10] if asks else [])
    assert all(c.choices for c in chunks) != asks  # only the usage has no choices


async def test_errors_are_the_librarys_own(engine: FakeVllm) -> None:
    async with running_gateway(engine, tenants={"api_keys": {"any": "team"}}) as gateway, client_of(gateway) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="other", messages=MESSAGES)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=-1)
        assert wrong.value.param == "max_tokens"
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="wrong").chat.completions.create(model="tiny", messages=MESSAGES)


async def test_a_stream_that_fails_raises(engine: FakeVllm, gateway: RunningGateway) -> None:
    engine.on_call = streams_then([*EVENTS, b'data: {"id":"c","cho'], resets)
    async with client_of(gateway) as client:
        stream = aiter(await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True))
        assert [(await anext(stream)).choices[0].delta.content for _ in PARTS] == PARTS
        with pytest.raises(openai.APIError, match="broke off") as failed:
            await anext(stream)
    assert failed.value.code == "engine_unreachable"


async def test_a_stream_that_is_closed_is_aborted(engine: FakeVllm, gateway: RunningGateway) -> None:
    engine.on_call = streams_then(EVENTS, hangs)
    async with client_of(gateway) as client:
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        await anext(aiter(stream))
        await stream.close()
        async with asyncio.timeout(1):
            await engine.calls[0].hung_up.wait()


async def test_many_at_once(engine: FakeVllm, gateway: RunningGateway) -> None:
    """Every stream gets its own bytes."""

    async def echoes(conversation: Conversation) -> None:
        text = conversation.request.json()["messages"][0]["content"]
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        await streams(*[event([choice])] * 5, *STREAM[-3:])(conversation)

    engine.on_call = echoes

    async def talk(client: AsyncOpenAI, text: str) -> str:
        messages = [{"role": "user", "content": text}]
        stream = await client.chat.completions.create(model="tiny", messages=messages, stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async with client_of(gateway) as client:
        answers = await asyncio.gather(*(talk(client, f"<{i}>") for i in range(60)))
    assert answers == [f"<{i}>" * 5 for i in range(60)]
    assert await gateway.metric("calls_total", outcome="completed") == 60
