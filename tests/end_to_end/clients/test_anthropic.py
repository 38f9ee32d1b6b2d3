"""The Anthropic library: messages, streams, tools, token counts and errors, in programs of several steps."""

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.end_to_end.clients.fronts import Front, ScriptedFront
from tests.end_to_end.clients.grouping import (
    ANSWER,
    FOLLOW_UP,
    HEADER,
    KEY,
    LINEAGE,
    NAMED,
    PATH,
    QUESTION,
    SECOND_ANSWER,
    SESSION,
    Way,
    by_rule,
    look_up,
)
from tests.fakes.scripted_vllm import ScriptedVllm
from tests.http.gateways import running_gateway

SEARCH: Any = {
    "name": "search",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}
METADATA = Way("body")
"""Of Claude Code before it had headers: `metadata.user_id` ends in the session."""
SESSION_ID = "5d2f0f0e-1c55-4c43-a3c0-111111111111"

ways = pytest.mark.parametrize("way", [PATH, HEADER, SESSION, METADATA, LINEAGE], ids=by_rule)


class Talk:
    """A program: it asks, calls the tool it is told to call, reads the answer, and asks once more."""

    def __init__(self, way: Way) -> None:
        self.messages: list[Any] = [{"role": "user", "content": QUESTION}]
        self.options: Any = {"model": "tiny", "max_tokens": 100, "messages": self.messages, "tools": [SEARCH]}
        if way is METADATA:
            self.options["metadata"] = {"user_id": f"user_0a1b_account__session_{SESSION_ID}"}

    def hear(self, message: Any) -> str | None:
        """What is said now; None: a tool was called, and the model must be asked again."""
        self.messages.append({"role": "assistant", "content": message.content})
        assert message.usage.output_tokens > 0
        if message.stop_reason == "end_turn":
            self.messages.append({"role": "user", "content": FOLLOW_UP})
            return str(message.content[0].text)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": look_up(block.input["query"])}
            for block in message.content
            if block.type == "tool_use"
        ]
        self.messages.append({"role": "user", "content": results})
        return None


@ways
async def test_messages(front: ScriptedFront, way: Way) -> None:
    talk, said = Talk(way), []
    async with AsyncAnthropic(**front.anthropic(way)) as client:
        for _ in range(3):
            raw = await client.messages.with_raw_response.create(**talk.options)
            said.append(talk.hear(await raw.parse()))
    assert said == [None, ANSWER, SECOND_ANSWER]
    assert raw.headers["x-justitia-identity"] == way.rule
    await front.check_one_application(way, num_calls=3)


@ways
async def test_messages_streamed(front: ScriptedFront, way: Way) -> None:
    talk, said, kinds = Talk(way), [], []
    async with AsyncAnthropic(**front.anthropic(way)) as client:
        for _ in range(3):
            async with client.messages.stream(**talk.options) as stream:
                kinds.append({event.type async for event in stream})
                said.append(talk.hear(await stream.get_final_message()))
    assert said == [None, ANSWER, SECOND_ANSWER]
    assert "input_json" in kinds[0]
    assert all({"text", "message_stop"} <= later for later in kinds[1:])
    await front.check_one_application(way, num_calls=3)


@pytest.mark.parametrize("way", NAMED, ids=by_rule)
async def test_messages_of_the_synchronous_client(front: ScriptedFront, way: Way) -> None:
    def program() -> list[str | None]:
        talk = Talk(way)
        with Anthropic(**front.anthropic(way)) as client:
            said = [talk.hear(client.messages.create(**talk.options))]
            with client.messages.stream(**talk.options) as stream:
                said.append(talk.hear(stream.get_final_message()))
            with client.messages.stream(**talk.options) as stream:
                return [*said, "".join(stream.text_stream)]

    assert await asyncio.to_thread(program) == [None, ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


async def test_subagents_are_their_sessions(front: ScriptedFront) -> None:
    """As Claude Code sends them: the session's id with every call, and an agent's beside it."""

    async def agent(client: AsyncAnthropic, name: str | None) -> None:
        talk = Talk(SESSION)
        headers = {} if name is None else {"X-Claude-Code-Agent-Id": name}
        for _ in range(3):
            talk.hear(await client.beta.messages.create(**talk.options, extra_headers=headers))

    async with AsyncAnthropic(**front.anthropic(SESSION)) as client:
        await asyncio.gather(*(agent(client, name) for name in (None, "explorer-1", "explorer-2")))
    await front.check_one_application(SESSION, num_calls=9)


@pytest.mark.parametrize("way", NAMED, ids=by_rule)
async def test_only_the_environment_is_set(front: ScriptedFront, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a program that nobody can change."""
    talk = Talk(way)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", front.anthropic_url(way))
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", way.header_lines)
    async with AsyncAnthropic() as client:
        said = [talk.hear(await client.messages.create(**talk.options)) for _ in range(3)]
    assert said == [None, ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


async def test_counting_takes_no_turn(front: ScriptedFront) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    async with AsyncAnthropic(**front.anthropic(PATH)) as client:
        few = await client.messages.count_tokens(model="tiny", messages=messages)
        more = await client.messages.count_tokens(model="tiny", messages=messages, tools=[SEARCH])
    assert 0 < few.input_tokens < more.input_tokens
    assert await front.gateway.metric("calls_total") == 0


async def test_errors(scripted: ScriptedVllm) -> None:
    """The gateway's own and the engine's are classes of the library; the key is `x-api-key`."""
    question: Any = {"max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
    async with running_gateway(scripted, tenants={"api_keys": {KEY: "team"}}) as gateway:
        async with AsyncAnthropic(**Front(gateway.url, KEY).anthropic(PATH)) as client:
            with pytest.raises(anthropic.NotFoundError) as unknown:
                await client.messages.create(model="other", **question)
            assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
            with pytest.raises(anthropic.BadRequestError):
                await client.messages.create(model="tiny", max_tokens=-1, messages=question["messages"])
            with pytest.raises(anthropic.BadRequestError, match="not offered"):  # the engine's own
                await client.messages.create(model="tiny", **question)
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.count_tokens(model="other", messages=question["messages"])
        async with AsyncAnthropic(**Front(gateway.url, "of a stranger").anthropic(PATH)) as stranger:
            with pytest.raises(anthropic.AuthenticationError) as refused:
                await stranger.messages.create(model="tiny", **question)
            assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.count_tokens(model="tiny", messages=question["messages"])
    assert scripted.applications("/v1/messages") == {"team/research:7"}


async def test_a_token_is_a_key_too(scripted: ScriptedVllm) -> None:
    """`auth_token=` sends `Authorization: Bearer`."""
    async with running_gateway(scripted, tenants={"api_keys": {KEY: "team"}}) as gateway:
        url = Front(gateway.url, KEY).anthropic_url(PATH)
        async with AsyncAnthropic(base_url=url, auth_token=KEY, max_retries=0) as client:
            message = await client.messages.create(**Talk(PATH).options)
            assert message.stop_reason == "tool_use"
    assert scripted.calls[0].header("x-api-key") is None
    assert scripted.calls[0].header("authorization") is None
