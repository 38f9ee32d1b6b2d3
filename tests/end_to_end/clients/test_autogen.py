"""AutoGen: an assistant with a tool, which it reflects on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import ModelClientStreamingChunkEvent
from autogen_ext.models.openai import OpenAIChatCompletionClient

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

ABILITIES: Any = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "structured_output": True,
    "family": "unknown",
}


async def search(query: str) -> str:
    """Look something up."""
    return look_up(query)


@asynccontextmanager
async def assistant(front: Front, way: Way, **options: Any) -> AsyncIterator[AssistantAgent]:
    client = OpenAIChatCompletionClient(model="tiny", model_info=ABILITIES, **front.openai(way))
    try:
        yield AssistantAgent("assistant", client, tools=[search], reflect_on_tool_use=True, **options)
    finally:
        await client.close()


@pytest.mark.parametrize("way", ALL, ids=by_rule)
async def test_an_assistant(front: ScriptedFront, way: Way) -> None:
    async with assistant(front, way) as agent:
        said = [(await agent.run(task=question)).messages[-1] for question in (QUESTION, FOLLOW_UP)]
    assert [message.to_text() for message in said] == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


async def test_an_assistant_streamed(front: ScriptedFront) -> None:
    said = []
    async with assistant(front, LINEAGE, model_client_stream=True) as agent:
        for question in (QUESTION, FOLLOW_UP):
            parts = ""
            async for event in agent.run_stream(task=question):
                if isinstance(event, ModelClientStreamingChunkEvent):
                    parts += event.content
                elif isinstance(event, TaskResult):
                    assert event.messages[-1].to_text() == parts
            said.append(parts)
    assert said == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(LINEAGE, num_calls=3)
