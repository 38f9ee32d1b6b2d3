"""The OpenAI Agents SDK: an agent with a tool, over chat completions and over responses."""

import asyncio
from typing import Any

import pytest
from agents import (
    Agent,
    Model,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    SQLiteSession,
    function_tool,
)
from openai import AsyncOpenAI

from tests.end_to_end.clients.fronts import ScriptedFront
from tests.end_to_end.clients.grouping import (
    ALL,
    ANSWER,
    CHAIN,
    FOLLOW_UP,
    LINEAGE,
    QUESTION,
    SECOND_ANSWER,
    Way,
    by_rule,
    look_up,
)

QUIET = RunConfig(tracing_disabled=True)

ways = pytest.mark.parametrize("way", ALL, ids=by_rule)
models = pytest.mark.parametrize("model_class", [OpenAIChatCompletionsModel, OpenAIResponsesModel])


@function_tool
def search(query: str) -> str:
    """Look something up."""
    return look_up(query)


def agent(model: Model) -> Agent[Any]:
    return Agent(name="researcher", instructions="Look it up.", model=model, tools=[search])


@models
@ways
async def test_an_agent(front: ScriptedFront, way: Way, model_class: Any) -> None:
    async with AsyncOpenAI(**front.openai(way)) as client:
        researcher = agent(model_class("tiny", client))
        first = await Runner.run(researcher, QUESTION, run_config=QUIET)
        conversation: Any = [*first.to_input_list(), {"role": "user", "content": FOLLOW_UP}]
        second = await Runner.run(researcher, conversation, run_config=QUIET)
    assert [first.final_output, second.final_output] == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


@models
async def test_an_agent_streamed(front: ScriptedFront, model_class: Any) -> None:
    """Its conversation is kept by a session."""
    session = SQLiteSession("one")
    said = []
    async with AsyncOpenAI(**front.openai(LINEAGE)) as client:
        researcher = agent(model_class("tiny", client))
        for question in (QUESTION, FOLLOW_UP):
            run = Runner.run_streamed(researcher, question, session=session, run_config=QUIET)
            kinds = {event.type async for event in run.stream_events()}
            assert {"raw_response_event", "run_item_stream_event"} <= kinds
            said.append(run.final_output)
    session.close()
    assert said == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(LINEAGE, num_calls=3)


@models
async def test_an_agent_without_asyncio(front: ScriptedFront, model_class: Any) -> None:
    def program() -> str:
        client = AsyncOpenAI(**front.openai(LINEAGE))
        try:
            with asyncio.Runner() as runner:
                asyncio.set_event_loop(runner.get_loop())
                result = Runner.run_sync(agent(model_class("tiny", client)), QUESTION, run_config=QUIET)
                runner.run(client.close())
                return str(result.final_output)
        finally:
            asyncio.set_event_loop(None)

    assert await asyncio.to_thread(program) == ANSWER
    await front.check_one_application(LINEAGE, num_calls=2)


async def test_a_chain_of_responses(front: ScriptedFront) -> None:
    """Each call sends only what is new, and the id of the response before it."""
    async with AsyncOpenAI(**front.openai(LINEAGE)) as client:
        researcher = agent(OpenAIResponsesModel("tiny", client))
        first = await Runner.run(researcher, QUESTION, run_config=QUIET, auto_previous_response_id=True)
        second = await Runner.run(researcher, FOLLOW_UP, run_config=QUIET, previous_response_id=first.last_response_id)
    assert [first.final_output, second.final_output] == [ANSWER, SECOND_ANSWER]
    assert [len(call.json()["input"]) for call in front.engine.calls[1:]] == [1, 1]
    await front.check_one_application(CHAIN, num_calls=3)
