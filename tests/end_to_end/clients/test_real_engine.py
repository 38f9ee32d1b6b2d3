"""The OpenAI and the Anthropic library on the real vLLM: tools that the model is made to call, streams, counts, errors.

Random weights call no tool by themselves. A strict schema and a forced choice leave them nothing else to say, and since
the tiny model has no end of text, the tag that closes a call is the call's stop string.
"""

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.end_to_end.clients.fronts import RealFront
from tests.end_to_end.clients.grouping import FOLLOW_UP, PATH, QUESTION, look_up
from tests.fakes.protocols.turns import calls, says
from tests.fakes.running_engine import RunningEngine
from tests.fakes.scripted_vllm import ScriptedVllm

pytestmark = pytest.mark.engine

WORDS = ["fair", "queue"]
SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string", "enum": WORDS}},
    "required": ["query"],
    "additionalProperties": False,
}
SEARCH: Any = {"type": "function", "function": {"name": "search", "strict": True, "parameters": SCHEMA}}
FLAT_SEARCH: Any = {"type": "function", "name": "search", "strict": True, "parameters": SCHEMA}
CLAUDE_SEARCH: Any = {"name": "search", "strict": True, "input_schema": SCHEMA}
END = "</tool_call>"
LONGEST = 700
"""A call takes some 80 tokens: JSON allows blanks, and random weights use them."""


def check_one_application(front: RealFront) -> None:
    """What the engine's scheduler has seen, and what the gateway tells of it."""
    assert front.applications() == {PATH.application}
    assert [one["id"] for one in front.listed()] == [PATH.application]


async def test_openai_chat(real_front: RealFront) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    named: Any = {"type": "function", "function": {"name": "search"}}
    forced: Any = {"model": "tiny", "messages": messages, "tools": [SEARCH], "max_tokens": LONGEST, "stop": [END]}
    async with AsyncOpenAI(**real_front.openai(PATH)) as client:
        for choice in (named, "required"):
            answer = await client.chat.completions.create(**forced, tool_choice=choice)
            (call,) = answer.choices[0].message.tool_calls or []
            query = json.loads(call.function.arguments)["query"]
            assert query in WORDS
            messages += [
                answer.choices[0].message.to_dict(),
                {"role": "tool", "tool_call_id": call.id, "content": look_up(query)},
            ]
        async with client.chat.completions.stream(**forced, tool_choice=named) as stream:
            done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
            assert [event.name for event in done] == ["search"]
        messages.append({"role": "user", "content": FOLLOW_UP})
        said = await client.chat.completions.create(model="tiny", messages=messages, max_tokens=5)
        assert said.usage is not None
        assert said.usage.completion_tokens == 5
    check_one_application(real_front)


async def test_openai_responses(real_front: RealFront) -> None:
    """The conversation is sent whole, as it must be to a vLLM that keeps no responses."""
    conversation: list[Any] = [{"role": "user", "content": QUESTION}]
    async with AsyncOpenAI(**real_front.openai(PATH)) as client:
        called = await client.responses.create(
            model="tiny",
            input=conversation,
            tools=[FLAT_SEARCH],
            tool_choice={"type": "function", "name": "search"},
            max_output_tokens=LONGEST,
            extra_body={"stop": [END]},
        )
        (call,) = called.output
        assert isinstance(call, openai.types.responses.ResponseFunctionToolCall)
        assert json.loads(call.arguments)["query"] in WORDS
        conversation += [
            call.to_dict(),
            {"type": "function_call_output", "call_id": call.call_id, "output": "found"},
            {"role": "user", "content": FOLLOW_UP},
        ]
        async with client.responses.stream(model="tiny", input=conversation, max_output_tokens=5) as stream:
            numbers = [event.sequence_number async for event in stream]
            said = await stream.get_final_response()
        assert numbers == list(range(len(numbers)))
        assert said.usage is not None
        assert said.usage.output_tokens == 5
    check_one_application(real_front)


async def test_anthropic(real_front: RealFront) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    forced: Any = {
        "model": "tiny",
        "messages": messages,
        "tools": [CLAUDE_SEARCH],
        "max_tokens": LONGEST,
        "stop_sequences": [END],
    }
    async with AsyncAnthropic(**real_front.anthropic(PATH)) as client:
        before = (await client.messages.count_tokens(model="tiny", messages=messages)).input_tokens
        answer = await client.messages.create(**forced, tool_choice={"type": "tool", "name": "search"})
        (block,) = answer.content
        assert isinstance(block, anthropic.types.ToolUseBlock)
        assert answer.stop_reason == "tool_use"
        assert block.input["query"] in WORDS
        async with client.messages.stream(**forced, tool_choice={"type": "any"}) as stream:
            again = await stream.get_final_message()
        assert [block.type for block in again.content] == ["tool_use"]
        result = {"type": "tool_result", "tool_use_id": block.id, "content": "found"}
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        assert (await client.messages.count_tokens(model="tiny", messages=messages)).input_tokens > before
        said = await client.messages.create(model="tiny", messages=messages, max_tokens=5)
        assert (said.stop_reason, said.usage.output_tokens) == ("max_tokens", 5)
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.create(model="other", messages=messages, max_tokens=5)
        with pytest.raises(anthropic.BadRequestError):  # the engine's own: longer than its context
            await client.messages.create(model="tiny", messages=messages, max_tokens=5, system="word " * 2000)
    check_one_application(real_front)


async def test_what_else_it_serves(real_front: RealFront) -> None:
    async with AsyncOpenAI(**real_front.openai(PATH)) as client:
        assert [model.id async for model in client.models.list()] == ["tiny"]
        told = await client.completions.create(model="tiny", prompt="Once", max_tokens=5)
        assert told.usage is not None
        assert told.usage.completion_tokens == 5
        with pytest.raises(openai.NotFoundError):  # a model that generates has no such route
            await client.embeddings.create(model="tiny", input="Hi")
    async with httpx.AsyncClient(base_url=real_front.anthropic_url(PATH)) as http:
        tokens = (await http.post("/v1/tokenize", json={"model": "tiny", "prompt": "Once upon"})).json()["tokens"]
        text = (await http.post("/v1/detokenize", json={"model": "tiny", "tokens": tokens})).json()["prompt"]
    assert text == "Once upon"
    check_one_application(real_front)


STREAMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hi"}], "stream_options": {"include_usage": True}},
        {"tools": [SEARCH], "tool_choice": "required", "stop": [END]},
    ),
    (
        "/v1/responses",
        {"input": "Hi"},
        {"tools": [FLAT_SEARCH], "tool_choice": {"type": "function", "name": "search"}, "stop": [END]},
    ),
    (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"tools": [CLAUDE_SEARCH], "tool_choice": {"type": "any"}, "stop_sequences": [END]},
    ),
]


@pytest.mark.parametrize(("path", "body", "tools"), STREAMS, ids=["chat", "responses", "messages"])
async def test_the_scripted_engine_streams_the_same_events(
    engine: RunningEngine, path: str, body: dict[str, Any], tools: dict[str, Any]
) -> None:
    """So that what clients do with it tells what they do with vLLM."""
    for turn, more in ((says("Hello there, friend."), {}), (calls("search", query="fair"), tools)):
        limit = {"max_output_tokens" if path == "/v1/responses" else "max_tokens": LONGEST if more else 8}
        asked = body | more | limit | {"model": "tiny", "stream": True}
        async with ScriptedVllm(turn) as scripted:
            ours = await events_of(scripted.url, path, asked)
        theirs = await events_of(engine.url, path, asked)
        assert [name for name, _ in ours] == [name for name, _ in theirs]
        for (name, our_fields), (_, their_fields) in zip(ours, theirs, strict=True):
            assert our_fields <= their_fields, name


async def events_of(url: str, path: str, body: dict[str, Any]) -> list[tuple[str, set[str]]]:
    """What kinds of events come, repetitions as one, and the fields that each has."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    lines = (line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: "))
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    return [(name, set().union(*map(fields_of, alike))) for name, alike in groupby(events, key=kind_of)]


def kind_of(event: dict[str, Any]) -> str:
    if "choices" not in event:
        return str(event["type"])
    if not event["choices"]:
        return "usage"
    (choice,) = event["choices"]
    if choice["finish_reason"] is not None:
        return "end"  # with the last text in it, or empty
    return ",".join(sorted(key for key, value in choice["delta"].items() if value is not None))


def fields_of(value: Any, place: str = "") -> Iterable[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{place}.{key}"
            yield from fields_of(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from fields_of(inner, f"{place}[]")
