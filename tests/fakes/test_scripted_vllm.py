"""What the scripted engine sends is vLLM's protocol: vLLM's own classes read every answer and every event of it."""

import importlib.util
import json
import os
import warnings
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from tests.fakes.protocols.turns import both, calls, says
from tests.fakes.scripted_vllm import ScriptedVllm

MESSAGES = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "search", "parameters": SCHEMA}}]
FLAT_TOOLS = [{"type": "function", "name": "search", "parameters": SCHEMA}]
SEARCHES = both(calls("search", query="a"), calls("search", query="b"))


@pytest.fixture(scope="module")
def protocol() -> dict[str, TypeAdapter[Any]]:
    """vLLM's classes by what is sent. Its imports take a quarter of a minute."""
    if importlib.util.find_spec("vllm") is None and not os.environ.get("CI"):
        pytest.skip("vLLM is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own affairs
        from vllm.entrypoints.anthropic import protocol as anthropic
        from vllm.entrypoints.openai.chat_completion import protocol as chat
        from vllm.entrypoints.openai.completion import protocol as completion
        from vllm.entrypoints.openai.responses import protocol as responses
        from vllm.entrypoints.pooling.embed import protocol as embed
        from vllm.entrypoints.serve.engine import protocol as engine
        from vllm.entrypoints.serve.tokenize import protocol as tokenize
    return {
        "chat": TypeAdapter(chat.ChatCompletionResponse),
        "chat event": TypeAdapter(chat.ChatCompletionStreamResponse),
        "completion": TypeAdapter(completion.CompletionResponse),
        "completion event": TypeAdapter(completion.CompletionStreamResponse),
        "response": TypeAdapter(responses.ResponsesResponse),
        "message": TypeAdapter(anthropic.AnthropicMessagesResponse),
        "message event": TypeAdapter(anthropic.AnthropicStreamEvent),
        "message error": TypeAdapter(anthropic.AnthropicErrorResponse),
        "count": TypeAdapter(anthropic.AnthropicCountTokensResponse),
        "embeddings": TypeAdapter(embed.EmbeddingResponse),
        "error": TypeAdapter(engine.ErrorResponse),
        "models": TypeAdapter(engine.ModelList),
        "tokens": TypeAdapter(tokenize.TokenizeResponse),
        "text": TypeAdapter(tokenize.DetokenizeResponse),
    }


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """What the lines `data: …` hold; each `event: …` line names the type of what follows."""
    events = []
    for block in answer.text.removesuffix("\n\n").split("\n\n"):
        *named, data = block.split("\n")
        if data == "data: [DONE]":
            continue
        events.append(json.loads(data.removeprefix("data: ")))
        assert named in ([], [f"event: {events[-1].get('type')}"])
    return events


@pytest.mark.parametrize("turn", [says("Fair queueing, and ünïcode."), SEARCHES])
async def test_every_answer_is_vllms(protocol: dict[str, TypeAdapter[Any]], turn: Any) -> None:
    chat = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS}
    message = {"model": "tiny", "messages": MESSAGES, "tools": [{"name": "search", "input_schema": SCHEMA}]}
    response = {"model": "tiny", "input": "Hi", "tools": FLAT_TOOLS}
    usage = {"stream_options": {"include_usage": True}}
    async with ScriptedVllm(turn) as engine, httpx.AsyncClient(base_url=engine.url) as client:

        async def check(kind: str, path: str, body: dict[str, Any]) -> None:
            answer = await client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            protocol[kind].validate_json(answer.content)
            if f"{kind} event" in protocol:
                for event in events_of(await client.post(path, json=body | {"stream": True} | usage)):
                    protocol[f"{kind} event"].validate_python(event)

        await check("chat", "/v1/chat/completions", chat)
        await check("completion", "/v1/completions", {"model": "tiny", "prompt": "Hi"})
        await check("response", "/v1/responses", response)
        await check("message", "/v1/messages", message)
        await check("count", "/v1/messages/count_tokens", message)
        await check("embeddings", "/v1/embeddings", {"model": "tiny", "input": ["a", "b"]})
        await check("tokens", "/tokenize", {"model": "tiny", "prompt": "Hi"})
        await check("text", "/detokenize", {"model": "tiny", "tokens": [72, 105]})
        protocol["models"].validate_json((await client.get("/v1/models")).content)
        await _check_responses_stream(
            protocol["response"], await client.post("/v1/responses", json=response | {"stream": True})
        )


async def _check_responses_stream(whole: TypeAdapter[Any], answer: httpx.Response) -> None:
    """vLLM sends the OpenAI library's own event classes, but for the response in them."""
    import openai.types.responses as types

    one = TypeAdapter(types.ResponseStreamEvent)
    events = events_of(answer)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        one.validate_python(event)
        if "response" in event:
            whole.validate_python(event["response"])


async def test_errors_are_vllms(protocol: dict[str, TypeAdapter[Any]]) -> None:
    async with ScriptedVllm(says("Hi")) as engine, httpx.AsyncClient(base_url=engine.url) as client:
        for kind, path, body in (
            ("error", "/v1/chat/completions", {"model": "other", "messages": MESSAGES}),
            ("error", "/v1/responses", {"model": "tiny", "input": "Hi", "previous_response_id": "resp_unknown"}),
            ("message error", "/v1/messages", {"model": "other", "messages": MESSAGES}),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 404
            protocol[kind].validate_json(answer.content)


async def test_a_conversation_tells_how_far_it_has_come() -> None:
    """The same turns in every protocol, whoever asks and in whatever order."""
    script = (calls("search", query="a"), says("First."), says("Second."))
    async with ScriptedVllm(*script) as engine, httpx.AsyncClient(base_url=engine.url) as client:

        async def chat(*earlier: str) -> Any:
            messages = [m for text in earlier for m in (*MESSAGES, {"role": "assistant", "content": text})]
            body = {"model": "tiny", "messages": [*messages, *MESSAGES], "tools": TOOLS}
            return (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]

        assert (await chat("x", "y"))["message"]["content"] == "Second."
        assert (await chat())["finish_reason"] == "tool_calls"
        assert (await chat("x"))["message"]["content"] == "First."
        assert (await chat("x", "y", "z"))["message"]["content"] == "Second."  # the last, again

        async def respond(**more: Any) -> Any:
            body = {"model": "tiny", "input": "Hi", "tools": FLAT_TOOLS} | more
            return (await client.post("/v1/responses", json=body)).json()

        first = await respond()
        (call,) = first["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "found"}
        assert call["type"] == "function_call"
        for more in (
            {"input": [result], "previous_response_id": first["id"]},
            {"input": [{"role": "user", "content": "Hi"}, call, {**call, "call_id": "another"}, result]},
        ):
            assert (await respond(**more))["output"][0]["content"][0]["text"] == "First."


async def test_a_response_is_kept_until_it_is_cancelled() -> None:
    async with ScriptedVllm(says("Hi")) as engine, httpx.AsyncClient(base_url=engine.url) as client:
        done = (await client.post("/v1/responses", json={"model": "tiny", "input": "Hi"})).json()
        waiting = (await client.post("/v1/responses", json={"model": "tiny", "input": "Hi", "background": True})).json()
        assert (await client.get(f"/v1/responses/{done['id']}")).json() == done
        assert (await client.post(f"/v1/responses/{done['id']}/cancel")).status_code == 400
        cancelled = (await client.post(f"/v1/responses/{waiting['id']}/cancel")).json()
        assert (waiting["status"], cancelled["status"]) == ("queued", "cancelled")


async def test_a_tool_that_was_not_offered_is_not_called() -> None:
    async with ScriptedVllm(calls("search", query="a")) as engine, httpx.AsyncClient(base_url=engine.url) as client:
        answer = await client.post("/v1/chat/completions", json={"model": "tiny", "messages": MESSAGES})
        assert answer.status_code == 400
