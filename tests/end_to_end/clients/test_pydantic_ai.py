"""PydanticAI: an agent with a tool, over chat completions, responses and messages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.end_to_end.clients.fronts import Front, ScriptedFront
from tests.end_to_end.clients.grouping import (
    ALL,
    ANSWER,
    FOLLOW_UP,
    LINEAGE,
    QUESTION,
    SECOND_ANSWER,
    Way,
    by_rule,
    look_up,
)


@asynccontextmanager
async def chat(front: Front, way: Way) -> AsyncIterator[Model]:
    async with AsyncOpenAI(**front.openai(way)) as client:
        yield OpenAIChatModel("tiny", provider=OpenAIProvider(openai_client=client))


@asynccontextmanager
async def responses(front: Front, way: Way) -> AsyncIterator[Model]:
    async with AsyncOpenAI(**front.openai(way)) as client:
        yield OpenAIResponsesModel("tiny", provider=OpenAIProvider(openai_client=client))


@asynccontextmanager
async def messages(front: Front, way: Way) -> AsyncIterator[Model]:
    async with AsyncAnthropic(**front.anthropic(way)) as client:
        yield AnthropicModel("tiny", provider=AnthropicProvider(anthropic_client=client))


def agent(model: Model) -> Agent[None, str]:
    # Its own default for Anthropic's models is more than the engine's memory.
    return Agent(model, instructions="Look it up.", tools=[search], model_settings={"max_tokens": 1000})


def search(query: str) -> str:
    """Look something up."""
    return look_up(query)


Maker = Callable[[Front, Way], Any]
models = pytest.mark.parametrize("make_model", [chat, responses, messages])
ways = pytest.mark.parametrize("way", ALL, ids=by_rule)


@models
@ways
async def test_an_agent(front: ScriptedFront, way: Way, make_model: Maker) -> None:
    async with make_model(front, way) as model:
        first = await agent(model).run(QUESTION)
        second = await agent(model).run(FOLLOW_UP, message_history=first.all_messages())
    assert [first.output, second.output] == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


@models
async def test_an_agent_streamed(front: ScriptedFront, make_model: Maker) -> None:
    said: list[str] = []
    history: Any = None
    async with make_model(front, LINEAGE) as model:
        for question in (QUESTION, FOLLOW_UP):
            async with agent(model).run_stream(question, message_history=history) as run:
                said.append("".join([part async for part in run.stream_text(delta=True)]))
                history = run.all_messages()
    assert said == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(LINEAGE, num_calls=3)


@models
async def test_an_agent_without_asyncio(front: ScriptedFront, make_model: Maker) -> None:
    def program() -> str:
        with asyncio.Runner() as runner:
            asyncio.set_event_loop(runner.get_loop())
            opened = make_model(front, LINEAGE)
            model = runner.run(opened.__aenter__())
            output = agent(model).run_sync(QUESTION).output
            runner.run(opened.__aexit__(None, None, None))
            asyncio.set_event_loop(None)
            return output

    assert await asyncio.to_thread(program) == ANSWER
    await front.check_one_application(LINEAGE, num_calls=2)
