"""LangGraph: a graph of a model and a tool, with a memory, on OpenAI's and on Anthropic's API."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from typing_extensions import TypedDict

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

CONFIG: Any = {"configurable": {"thread_id": "one"}}


class State(TypedDict):
    messages: Annotated[list[Any], add_messages]


@tool
def search(query: str) -> str:
    """Look something up."""
    return look_up(query)


def agent(model: BaseChatModel) -> Any:
    """The model is asked until it calls no tool any more."""
    with_tools = model.bind_tools([search])

    async def ask(state: State) -> dict[str, Any]:
        return {"messages": [await with_tools.ainvoke(state["messages"])]}

    def ask_now(state: State) -> dict[str, Any]:
        return {"messages": [with_tools.invoke(state["messages"])]}

    graph = StateGraph(State)
    graph.add_node("model", RunnableLambda(ask_now, afunc=ask))
    graph.add_node("tools", ToolNode([search]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=InMemorySaver())


_TIMEOUTS_S = itertools.count(60.0)
"""LangChain keeps a client for each URL and timeout, also a closed one; and ports come back."""


@asynccontextmanager
async def openai_model(front: Front, way: Way) -> AsyncIterator[BaseChatModel]:
    model = ChatOpenAI(model="tiny", timeout=next(_TIMEOUTS_S), **front.openai(way))
    yield model
    model.root_client.close()
    await model.root_async_client.close()


@asynccontextmanager
async def anthropic_model(front: Front, way: Way) -> AsyncIterator[BaseChatModel]:
    model = ChatAnthropic(model_name="tiny", timeout=next(_TIMEOUTS_S), **front.anthropic(way))
    yield model
    model._client.close()  # it has no public one
    await model._async_client.close()


Maker = Callable[[Front, Way], AbstractAsyncContextManager[BaseChatModel]]
models = pytest.mark.parametrize("make_model", [openai_model, anthropic_model])
ways = pytest.mark.parametrize("way", ALL, ids=by_rule)


def said(state: dict[str, Any]) -> str:
    return str(state["messages"][-1].text)


@models
@ways
async def test_an_agent(front: ScriptedFront, way: Way, make_model: Maker) -> None:
    async with make_model(front, way) as model:
        graph = agent(model)
        first = await graph.ainvoke({"messages": [HumanMessage(QUESTION)]}, CONFIG)
        assert [message.type for message in first["messages"]] == ["human", "ai", "tool", "ai"]
        second = await graph.ainvoke({"messages": [HumanMessage(FOLLOW_UP)]}, CONFIG)
    assert [said(first), said(second)] == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(way, num_calls=3)


@models
async def test_an_agent_streamed(front: ScriptedFront, make_model: Maker) -> None:
    async with make_model(front, LINEAGE) as model:
        graph = agent(model)

        async def stream(question: str) -> str:
            parts = graph.astream({"messages": [HumanMessage(question)]}, CONFIG, stream_mode="messages")
            return "".join([str(part.text) async for part, _ in parts if part.type == "AIMessageChunk"])

        assert [await stream(QUESTION), await stream(FOLLOW_UP)] == [ANSWER, SECOND_ANSWER]
    assert all(call.json()["stream"] for call in front.engine.calls)
    await front.check_one_application(LINEAGE, num_calls=3)


@models
async def test_an_agent_without_asyncio(front: ScriptedFront, make_model: Maker) -> None:
    def program(model: BaseChatModel) -> list[str]:
        graph = agent(model)
        return [said(graph.invoke({"messages": [HumanMessage(text)]}, CONFIG)) for text in (QUESTION, FOLLOW_UP)]

    async with make_model(front, LINEAGE) as model:
        assert await asyncio.to_thread(program, model) == [ANSWER, SECOND_ANSWER]
    await front.check_one_application(LINEAGE, num_calls=3)
