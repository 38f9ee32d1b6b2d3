"""The OpenAI library: every route it has that an engine serves, in programs of several steps."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.end_to_end.clients.fronts import ScriptedFront
from tests.end_to_end.clients.grouping import (
    ANSWER,
    CHAIN,
    FOLLOW_UP,
    HEADER,
    KEY,
    LINEAGE,
    NAMED,
    PATH,
    QUESTION,
    SECOND_ANSWER,
    SESSION,
    TRACE,
    Way,
    by_rule,
    look_up,
)
from tests.fakes.protocols.turns import calls, says

SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
SEARCH: Any = {"type": "function", "function": {"name": "search", "parameters": SCHEMA}}
FLAT_SEARCH: Any = {"type": "function", "name": "search", "parameters": SCHEMA}

ways = pytest.mark.parametrize("way", [PATH, HEADER, SESSION, TRACE, LINEAGE], ids=by_rule)


class Talk:
    """A program: it asks, calls the tool it is told to call, reads the answer, and asks once more."""

    def __init__(self) -> None:
        self.messages: list[Any] = [{"role": "user", "content": QUESTION}]
        self.options: Any = {"model": "tiny", "messages": self.messages, "tools": [SEARCH]}

    def hear(self, message: Any) -> str | None:
        """What is said now; None: a tool was called, and the model must be asked again."""
        self.messages.append(message.to_dict(exclude_unset=False) if hasattr(message, "to_dict") else message)
        if not message.tool_calls:
            self.messages.append({"role": "user", "content": FOLLOW_UP})
            return str(message.content)
        for call in message.tool_calls:
            found = look_up(json.loads(call.function.arguments)["query"])
            self.messages.append({"role": "tool", "tool_call_id": call.id, "content": found})
        return None


@ways
async def test_chat(front: ScriptedFront, way: Way) -> None:
    talk, said = Talk(), []
    async with AsyncOpenAI(**front.openai(way)) as client:
        for _ in range(3):
            raw = await client.chat.completions.with_raw_response.create(**talk.options)
            answer = raw.parse()
            assert answer.usage is not None
            assert answer.usage.completion_tokens > 0
            said.append(talk.hear(answer.choices[0].message))
    assert said == [None, ANSWER, SECOND_ANSWER]
    assert raw.headers["x-justitia-identity"] == way.rule
    await front.check_one_application(way, num_calls=3)


@ways
async def test_chat_streamed(front: ScriptedFront, way: Way) -> None:
    talk, said = Talk(), []
    async with AsyncOpenAI(**front.openai(way)) as client:
        for _ in range(3):
            async with client.chat.completions.stream(**talk.options) as stream:
                kinds = {event.type async for event in stream}
                message = (await stream.get_final_completion()).choices[0].message
            said.append(talk.hear(message))
            assert ("tool_calls.function.arguments.done" if message.tool_calls else "content.done") in kinds
    assert said == [None, ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


async def test_an_application_stays_open_while_its_tool_runs(front: ScriptedFront) -> None:
    """Though nothing is set that would say that more calls will come."""
    talk = Talk()
    async with AsyncOpenAI(**front.openai(LINEAGE)) as client:
        for _ in range(3):
            talk.hear((await client.chat.completions.create(**talk.options)).choices[0].message)
            await front.engine.was_read()  # a tool that takes long enough for all to be settled
            await front.check_is_open()
    await front.check_one_application(LINEAGE, num_calls=3)


@pytest.mark.parametrize("way", NAMED, ids=by_rule)
async def test_chat_of_the_synchronous_client(front: ScriptedFront, way: Way) -> None:
    def program() -> list[str | None]:
        talk = Talk()
        with OpenAI(**front.openai(way)) as client:
            said = [talk.hear(client.chat.completions.create(**talk.options).choices[0].message)]
            with client.chat.completions.stream(**talk.options) as stream:
                said.append(talk.hear(stream.get_final_completion().choices[0].message))
            parts = client.chat.completions.create(**talk.options, stream=True)
            return [*said, "".join(part.choices[0].delta.content or "" for part in parts)]

    assert await asyncio.to_thread(program) == [None, ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


@pytest.mark.parametrize("field", [{"metadata": {"application_id": "run-9"}}, {"prompt_cache_key": "run-9"}])
async def test_named_in_the_body(front: ScriptedFront, field: dict[str, Any]) -> None:
    way = Way("body", application="run-9")
    async with AsyncOpenAI(**front.openai(way)) as client:
        for question in (QUESTION, FOLLOW_UP):
            messages: Any = [{"role": "user", "content": question}]
            await client.chat.completions.create(model="tiny", messages=messages, tools=[SEARCH], **field)
    await front.check_one_application(way, num_calls=2)


@pytest.mark.parametrize("way", NAMED, ids=by_rule)
async def test_only_the_environment_is_set(front: ScriptedFront, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a program that nobody can change."""
    talk = Talk()
    monkeypatch.setenv("OPENAI_BASE_URL", front.openai_url(way))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", way.header_lines)
    async with AsyncOpenAI() as client:
        said = [talk.hear((await client.chat.completions.create(**talk.options)).choices[0].message) for _ in range(3)]
    assert said == [None, ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


class Verdict(BaseModel):
    is_fair: bool
    because: str


async def test_parsed_into_a_class(front: ScriptedFront) -> None:
    verdict = Verdict(is_fair=True, because="of the bound")
    front.engine.turns = (says(verdict.model_dump_json()),)
    messages: Any = [{"role": "user", "content": "Is it fair?"}]
    async with AsyncOpenAI(**front.openai(PATH)) as client:
        chat = await client.chat.completions.parse(model="tiny", messages=messages, response_format=Verdict)
        assert chat.choices[0].message.parsed == verdict
        response = await client.responses.parse(model="tiny", input="Is it fair?", text_format=Verdict)
        assert response.output_parsed == verdict
    assert front.engine.calls[0].json()["response_format"]["json_schema"]["name"] == "Verdict"
    await front.check_one_application(PATH, num_calls=2)


async def test_completions(front: ScriptedFront) -> None:
    async with AsyncOpenAI(**front.openai(HEADER)) as client:
        whole = await client.completions.create(model="tiny", prompt="Once", max_tokens=20)
        assert whole.choices[0].text == SECOND_ANSWER
        stream = await client.completions.create(model="tiny", prompt="Once", max_tokens=20, stream=True)
        assert "".join([part.choices[0].text async for part in stream]) == SECOND_ANSWER
        assert [model.id async for model in client.models.list()] == ["tiny"]
    await front.check_one_application(HEADER, num_calls=2)


def heard(response: Any) -> str | list[Any]:
    """The answer, or the results of the tools it calls."""
    if response.output_text:
        return str(response.output_text)
    return [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": look_up(json.loads(call.arguments)["query"]),
        }
        for call in response.output
    ]


@pytest.mark.parametrize("way", [*NAMED, CHAIN], ids=by_rule)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_responses(front: ScriptedFront, way: Way, is_streamed: bool) -> None:
    async def respond(client: AsyncOpenAI, **more: Any) -> Any:
        if not is_streamed:
            return await client.responses.create(model="tiny", tools=[FLAT_SEARCH], **more)
        async with client.responses.stream(model="tiny", tools=[FLAT_SEARCH], **more) as stream:
            numbers = [event.sequence_number async for event in stream]
            assert numbers == sorted(numbers)
            return await stream.get_final_response()

    async with AsyncOpenAI(**front.openai(way)) as client:
        first = await respond(client, input=QUESTION)
        second = await respond(client, input=heard(first), previous_response_id=first.id)
        third = await respond(client, input=FOLLOW_UP, previous_response_id=second.id)
        assert [heard(second), heard(third)] == [ANSWER, SECOND_ANSWER]
        retrieved = await client.responses.retrieve(third.id)
        assert retrieved.output_text == SECOND_ANSWER
    await front.check_one_application(way, num_calls=3)


async def test_an_application_stays_open_between_its_responses(front: ScriptedFront) -> None:
    options: Any = {"model": "tiny", "tools": [FLAT_SEARCH]}
    async with AsyncOpenAI(**front.openai(CHAIN)) as client:
        first = await client.responses.create(**options, input=QUESTION)
        await front.engine.was_read()
        await front.check_is_open()
        await client.responses.create(**options, input=heard(first), previous_response_id=first.id)
        await front.engine.was_read()
    await front.check_one_application(CHAIN, num_calls=2)


async def test_a_response_in_the_background_is_cancelled(front: ScriptedFront) -> None:
    async with AsyncOpenAI(**front.openai(PATH)) as client:
        queued = await client.responses.create(model="tiny", input="Hi", background=True, tools=[FLAT_SEARCH])
        assert queued.status == "queued"
        assert (await client.responses.cancel(queued.id)).status == "cancelled"
        assert (await client.responses.retrieve(queued.id)).status == "cancelled"
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_unknown")


async def test_responses_of_the_synchronous_client(front: ScriptedFront) -> None:
    def program() -> list[Any]:
        with OpenAI(**front.openai(PATH)) as client:
            first = client.responses.create(model="tiny", input=QUESTION, tools=[FLAT_SEARCH])
            more: Any = {"input": heard(first), "previous_response_id": first.id}
            with client.responses.stream(model="tiny", **more) as stream:
                second = stream.get_final_response()
            return [heard(second), client.responses.retrieve(second.id).output_text]

    assert await asyncio.to_thread(program) == [ANSWER, ANSWER]
    assert front.engine.applications() == {front.engine.calls[0].header("x-session-id")}


async def test_embeddings(front: ScriptedFront) -> None:
    async with AsyncOpenAI(**front.openai(PATH)) as client:
        answer = await client.embeddings.create(model="tiny", input=["two words", "one"])
        assert [one.embedding for one in answer.data] == [[9.0, 2.0, 1.0], [3.0, 1.0, 1.0]]
        plain = await client.embeddings.create(model="tiny", input="one", encoding_format="float")
        assert plain.data[0].embedding == [3.0, 1.0, 1.0]
    await front.check_one_application(PATH, num_calls=2)


async def test_programs_at_once_are_told_apart(front: ScriptedFront) -> None:
    """Twelve runs of one program, nothing set: each run's three calls are one application."""
    front.engine.turns = (calls("search", query="q"), says("Found."), says("More."))

    async def program(client: AsyncOpenAI, number: int) -> None:
        talk = Talk()
        talk.messages[0]["content"] = f"{QUESTION} ({number})"
        for _ in range(3):
            talk.hear((await client.chat.completions.create(**talk.options)).choices[0].message)

    async with AsyncOpenAI(**front.openai(LINEAGE)) as client:
        await asyncio.gather(*(program(client, number) for number in range(12)))
    by_question: dict[str, set[str | None]] = {}
    for call in front.engine.calls:
        by_question.setdefault(call.json()["messages"][0]["content"], set()).add(call.header("x-session-id"))
    assert {len(applications) for applications in by_question.values()} == {1}
    assert len({next(iter(applications)) for applications in by_question.values()}) == 12


async def test_errors(front: ScriptedFront) -> None:
    """The gateway's own and the engine's are classes of the library."""
    messages: Any = [{"role": "user", "content": "Hi"}]
    async with AsyncOpenAI(**front.openai(PATH)) as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.responses.create(model="other", input="Hi")
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="not offered"):
            await client.chat.completions.create(model="tiny", messages=messages)
        with pytest.raises(openai.NotFoundError, match="not found"):
            await client.responses.create(model="tiny", input="Hi", previous_response_id="resp_unknown")
