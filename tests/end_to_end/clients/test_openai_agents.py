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

from tests.end_to_end.clients.grouping import (
    ALL,
    ANSWER,
    CHAIN,
    FOLLOW_UP,
    KEY,
    LINEAGE,
    QUESTION,
    SECOND_ANSWER,
    Way,
    by_rule,
    check_one_application,
    look_up,
)
from tests.fakes.scripted_vllm import ScriptedVllm
from tests.http.gateways import RunningGateway

QUIET = RunConfig(tracing_disabled=True)

ways = pytest.mark.parametrize("way", ALL, ids=by_rule)
models = pytest.mark.parametrize("model_class", [OpenAIChatCompletionsModel, OpenAIResponsesModel])


@function_tool
def search(query: str) -> str:
    """Look something up."""
    return look_up(query)


def client_of(gateway: RunningGateway, way: Way) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=way.url(gateway), api_key=KEY, max_retries=0, default_headers=way.headers)


def agent(model: Model) -> Agent[Any]:
    return Agent(name="researcher", instructions="Look it up.", model=model, tools=[search])


@models
@ways
async def test_an_agent(scripted: ScriptedVllm, front: RunningGateway, way: Way, model_class: Any) -> None:
    async with client_of(front, way) as client:
        researcher = agent(model_class("tiny", client))
        first = await Runner.run(researcher, QUESTION, run_config=QUIET)
        conversation: Any = [*first.to_input_list(), {"role": "user", "content": FOLLOW_UP}]
        second = await Runner.run(researcher, conversation, run_config=QUIET)
    assert [first.final_output, second.final_output] == [ANSWER, SECOND_ANSWER]
    await check_one_application(front, scripted, way, num_calls=3)


@models
async def test_an_agent_streamed(scripted: ScriptedVllm, front: RunningGateway, model_class: Any) -> None:
    """Its conversation is kept by a session."""
    session = SQLiteSession("one")
    said = []
    async with client_of(front, LINEAGE) as client:
        researcher = agent(model_class("tiny", client))
        for question in (QUESTION, FOLLOW_UP):
            run = Runner.run_streamed(researcher, question, session=session, run_config=QUIET)
            kinds = {event.type async for event in run.stream_events()}
            assert {"raw_response_event", "run_item_stream_event"} <= kinds
            said.append(run.final_output)
    session.close()
    assert said == [ANSWER, SECOND_ANSWER]
    await check_one_application(front, scripted, LINEAGE, num_calls=3)


@models
async def test_an_agent_without_asyncio(scripted: ScriptedVllm, front: RunningGateway, model_class: Any) -> None:
    def program() -> str:
        client = client_of(front, LINEAGE)
        try:
            with asyncio.Runner() as runner:
                asyncio.set_event_loop(runner.get_loop())
                result = Runner.run_sync(agent(model_class("tiny", client)), QUESTION, run_config=QUIET)
                runner.run(client.close())
                return str(result.final_output)
        finally:
            asyncio.set_event_loop(None)

    assert await asyncio.to_thread(program) == ANSWER
    await check_one_application(front, scripted, LINEAGE, num_calls=2)


async def test_a_chain_of_responses(scripted: ScriptedVllm, front: RunningGateway) -> None:
    """Each call sends only what is new, and the id of the response before it."""
    async with client_of(front, LINEAGE) as client:
        researcher = agent(OpenAIResponsesModel("tiny", client))
        first = await Runner.run(researcher, QUESTION, run_config=QUIET, auto_previous_response_id=True)
        second = await Runner.run(researcher, FOLLOW_UP, run_config=QUIET, previous_response_id=first.last_response_id)
    assert [first.final_output, second.final_output] == [ANSWER, SECOND_ANSWER]
    assert [len(call.json()["input"]) for call in scripted.calls[1:]] == [1, 1]
    await check_one_application(front, scripted, CHAIN, num_calls=3)
