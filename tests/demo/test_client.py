"""The OpenAI client as the demo uses it, against the real gateway with a scripted engine behind it."""

import json
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.demo.client import API_KEY, CallStyle, Costs, GatewayCaller, gateway_caller
from gateway.demo.prompts import PreparedApplication, PreparedCall
from gateway.demo.replay import CallEnd, CallFailed
from gateway.fairness.units import Tokens
from tests.fakes.engine import FakeVllm, answers, streams
from tests.http.gateways import RunningGateway, running_gateway

CALL = PreparedCall(4, (), 0.0, ({"role": "user", "content": "Hi"},), Tokens(7), Tokens(3), False)
HEADERS = {"Authorization": f"Bearer {API_KEY}"}


def application(app_id: str = "tool_agent-003", kind: str = "tool_agent") -> PreparedApplication:
    return PreparedApplication(app_id, kind, 0.0, (CALL,))


def caller_of(
    gateway: RunningGateway, costs: Costs = "declared", is_streaming: bool = False
) -> AbstractAsyncContextManager[GatewayCaller]:
    return gateway_caller(gateway.url, CallStyle("tiny", "ab12-1-fcfs", costs, is_streaming))


async def known(gateway: RunningGateway) -> list[dict[str, object]]:
    data: list[dict[str, object]] = (await gateway.client.get("/v1/applications", headers=HEADERS)).json()["data"]
    return data


# A name that is fit for a path, and names that traces may have and paths may not.
@pytest.mark.parametrize("app_id", ["tool_agent-003", "a/b ü?", "x" * 300])
async def test_declaration_calls_and_closing_are_about_one_application(app_id: str) -> None:
    # A stock engine: it keeps no account of its calls that a closing would wait for.
    stock = FakeVllm(is_patched=False)
    async with stock as engine, running_gateway(engine) as gateway, caller_of(gateway) as caller:
        one = application(app_id)
        await caller.begin(one)
        (declared,) = await known(gateway)
        assert declared["kind"] == "tool_agent"
        assert declared["predicted_cost"] == one.cost == 7 * 3 + 6
        await caller.call(one, CALL)
        (called,) = await known(gateway)
        assert called["id"] == declared["id"]
        await caller.end(one)
        assert await known(gateway) == []


async def test_runs_of_one_kind_are_applications_of_their_own() -> None:
    async with FakeVllm() as engine, running_gateway(engine) as gateway, caller_of(gateway, "kind-mean") as caller:
        for app_id in ("a-1", "a-2"):
            await caller.begin(application(app_id))
            await caller.call(application(app_id), CALL)
        assert len(await known(gateway)) == 2


async def test_with_kind_means_nothing_is_declared() -> None:
    async with FakeVllm() as engine, running_gateway(engine) as gateway, caller_of(gateway, "kind-mean") as caller:
        await caller.begin(application())
        assert await known(gateway) == []


async def test_what_reaches_the_engine_is_what_was_recorded() -> None:
    async with FakeVllm() as engine, running_gateway(engine) as gateway, caller_of(gateway) as caller:
        assert await caller.call(application(), CALL) == CallEnd(7, 3)

        (received,) = engine.calls
        assert received.path == "/v1/chat/completions"
        assert received.json() == {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 3,
            "min_tokens": 3,
            "ignore_eos": True,
            "cache_salt": "ab12-1-fcfs",
        }


async def test_a_stream_ends_with_the_same_figures() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [], "usage": usage}
    async with (
        FakeVllm() as engine,
        running_gateway(engine) as gateway,
        caller_of(gateway, is_streaming=True) as caller,
    ):
        engine.on_call = streams(b"data: " + json.dumps(chunk).encode() + b"\n\n", b"data: [DONE]\n\n")
        assert await caller.call(application(), CALL) == CallEnd(7, 3)
        assert engine.calls[0].json()["stream"] is True


async def test_a_call_that_fails_is_not_tried_again() -> None:
    async with FakeVllm() as engine, running_gateway(engine) as gateway, caller_of(gateway) as caller:
        engine.on_call = answers({"error": {"message": "no\nroom"}}, status=500)
        with pytest.raises(CallFailed, match=r"^call 4: .*500.*") as failed:
            await caller.call(application(), CALL)
        assert "\n" not in str(failed.value)
        assert len(engine.calls) == 1


async def test_closing_what_is_not_known_is_a_failure() -> None:
    async with FakeVllm() as engine, running_gateway(engine) as gateway, caller_of(gateway) as caller:
        with pytest.raises(CallFailed, match="closing: 404"):
            await caller.end(application())


async def test_a_gateway_that_is_gone_is_a_failure_with_its_name() -> None:
    style = CallStyle("tiny", "run", "declared", False)
    async with gateway_caller("http://127.0.0.1:9", style) as caller:
        with pytest.raises(CallFailed, match="declaring: ConnectError"):
            await caller.begin(application())
        with pytest.raises(CallFailed, match="call 4: Connection error"):
            await caller.call(application(), CALL)
