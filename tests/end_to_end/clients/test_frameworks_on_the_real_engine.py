"""Frameworks' programs of several steps on the real vLLM: tools that its model is made to call, results, and a memory.

Random weights call no tool by themselves, and the tiny model has no end of text. A forced choice and a strict schema
leave it nothing else to say than a call; stop strings end the call, and what it says where nothing is forced. Every
call that is not cut short so would run to `max_tokens`, which some clients take for a failure.

AutoGen's AssistantAgent always lets the model choose (`tool_choice="auto"`): that one has its tests with a script.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, RunConfig, Runner
from agents import function_tool as agents_tool
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    UserMessage,
)
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool as langchain_tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import RunContext
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.openai import OpenAIResponsesModel as PydanticResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.end_to_end.clients.fronts import Front, RealFront
from tests.end_to_end.clients.grouping import ALL, CHAIN, FOLLOW_UP, QUESTION, Way, by_rule, look_up

pytestmark = pytest.mark.engine

Word = Literal["fair", "queue"]
FEW = 100
"""Of tokens: a call without blanks takes some 40."""
NO_CALL_HOLDS = ("b", "d", "p", "</tool_call>")
"""But nearly any text does, so it ends soon."""


def limits(front: RealFront) -> dict[str, Any]:
    """Of every call: what OpenAI's parameters do not have goes into the body all the same."""
    return {
        "stop": NO_CALL_HOLDS,
        "include_stop_str_in_output": True,  # an answer that stops at its first letter would be none
        "logit_bias": front.no_blanks(),
    }


def search(query: Word) -> str:
    """Look something up."""
    return look_up(query)


# --- LangGraph ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def chat_model(front: Front, way: Way, **options: Any) -> AsyncIterator[ChatOpenAI]:
    # Of its own, one base URL's models share a client, which would be closed for the next test.
    async with DefaultAsyncHttpxClient() as client:
        yield ChatOpenAI(model="tiny", http_async_client=client, **front.openai(way), **options)


@pytest.mark.parametrize("speaks_responses", [False, True])
@pytest.mark.parametrize("way", ALL, ids=by_rule)
async def test_langgraph(real_front: RealFront, way: Way, speaks_responses: bool) -> None:
    tool = langchain_tool(search)
    async with chat_model(
        real_front, way, use_responses_api=speaks_responses, extra_body=limits(real_front), max_tokens=FEW
    ) as model:
        forced = model.bind_tools([tool], tool_choice="search", strict=True)

        async def ask(state: MessagesState) -> dict[str, Any]:
            is_asked = state["messages"][-1].type == "human"
            return {"messages": [await (forced if is_asked else model).ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("model", ask)
        graph.add_node("tools", ToolNode([tool]))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        program: Any = graph.compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "one"}}
        for question in (QUESTION, FOLLOW_UP):
            state = await program.ainvoke({"messages": [HumanMessage(question)]}, config)
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"] * 2
    real_front.check_one_application(way, num_calls=4)


# --- the OpenAI Agents SDK ------------------------------------------------------------------------------------------


def researcher(front: RealFront, model: Any) -> Agent[Any]:
    """Forced anew in each run, and free again after the tool's result: the SDK's own way."""
    settings = ModelSettings(tool_choice="search", max_tokens=FEW, extra_body=limits(front))
    return Agent(name="researcher", model=model, tools=[agents_tool(search)], model_settings=settings)


@pytest.mark.parametrize("model_class", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
@pytest.mark.parametrize("way", ALL, ids=by_rule)
async def test_openai_agents(real_front: RealFront, way: Way, model_class: Any) -> None:
    async with AsyncOpenAI(**real_front.openai(way)) as client:
        agent = researcher(real_front, model_class("tiny", client))
        conversation: Any = []
        for question in (QUESTION, FOLLOW_UP):
            conversation.append({"role": "user", "content": question})
            run = await Runner.run(agent, conversation, run_config=RunConfig(tracing_disabled=True))
            kinds = [item.type for item in run.new_items]
            assert kinds == ["tool_call_item", "tool_call_output_item", "message_output_item"]
            conversation = run.to_input_list()
    real_front.check_one_application(way, num_calls=4)


async def test_openai_agents_with_a_chain_of_responses(real_front: RealFront) -> None:
    """Each call sends only what is new, and the id of the response before it: the engine knows the rest."""
    quiet = RunConfig(tracing_disabled=True)
    async with AsyncOpenAI(**real_front.openai(CHAIN)) as client:
        agent = researcher(real_front, OpenAIResponsesModel("tiny", client))
        first = await Runner.run(agent, QUESTION, run_config=quiet, auto_previous_response_id=True)
        second = await Runner.run(
            agent, FOLLOW_UP, run_config=quiet, previous_response_id=first.last_response_id,
            auto_previous_response_id=True,
        )  # fmt: skip
    prompts = [answer.usage.input_tokens for run in (first, second) for answer in run.raw_responses]
    assert len(prompts) == 4
    assert prompts[2] > prompts[0]  # though it sends as little
    real_front.check_one_application(CHAIN, num_calls=4)


# --- PydanticAI -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", [OpenAIChatModel, PydanticResponsesModel])
@pytest.mark.parametrize("way", ALL, ids=by_rule)
async def test_pydantic_ai(real_front: RealFront, way: Way, model_class: Any) -> None:
    def settings(run: RunContext[None]) -> Any:
        """Its `tool_choice` may change from step to step."""
        choice = ["search"] if run.run_step == 1 else "none"
        return {"max_tokens": FEW, "tool_choice": choice, "extra_body": limits(real_front)}

    async with AsyncOpenAI(**real_front.openai(way)) as client:
        model = model_class("tiny", provider=OpenAIProvider(openai_client=client))
        agent = PydanticAgent(model, tools=[search], model_settings=settings)
        history: Any = None
        for question in (QUESTION, FOLLOW_UP):
            history = (await agent.run(question, message_history=history)).all_messages()
    parts = [message.parts[-1].part_kind for message in history]
    assert parts == ["user-prompt", "tool-call", "tool-return", "text"] * 2
    real_front.check_one_application(way, num_calls=4)


# --- AutoGen --------------------------------------------------------------------------------------------------------

ABILITIES: Any = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "structured_output": True,
    "family": "unknown",
}


@pytest.mark.filterwarnings("ignore:Finish reason mismatch")  # to vLLM as to OpenAI, a forced call is a "stop"
@pytest.mark.parametrize("way", ALL, ids=by_rule)
async def test_autogen(real_front: RealFront, way: Way) -> None:
    """A program on AutoGen's core, whose models take a forced choice."""
    tool = FunctionTool(search, "Look something up.", strict=True)
    options: Any = {"max_tokens": FEW, "stop": list(NO_CALL_HOLDS), "logit_bias": real_front.no_blanks()}
    client = OpenAIChatCompletionClient(model="tiny", model_info=ABILITIES, **options, **real_front.openai(way))
    memory: list[LLMMessage] = []

    async def ask(text: str) -> CreateResult:
        memory.append(UserMessage(content=text, source="user"))
        called = await client.create(memory, tools=[tool], tool_choice=tool)
        assert isinstance(called.content, list)
        memory.append(AssistantMessage(content=called.content, source="assistant"))
        results = await asyncio.gather(*map(execute, called.content))
        memory.append(FunctionExecutionResultMessage(content=results))
        return await client.create(memory)

    async def execute(call: FunctionCall) -> FunctionExecutionResult:
        found = await tool.run_json(json.loads(call.arguments), CancellationToken())
        return FunctionExecutionResult(content=found, name=call.name, call_id=call.id, is_error=False)

    try:
        for question in (QUESTION, FOLLOW_UP):
            said = await ask(question)
            assert isinstance(said.content, str)
            memory.append(AssistantMessage(content=said.content, source="assistant"))
    finally:
        await client.close()
    real_front.check_one_application(way, num_calls=4)
