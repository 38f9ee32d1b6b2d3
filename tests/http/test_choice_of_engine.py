"""With several engines: who fails is not asked twice, and what continues a stored response goes where that is."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.fakes.engine import COMPLETION, Conversation, FakeVllm, answers, resets, streams_then
from tests.http.gateways import RunningGateway, running_gateway, until

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'


@pytest.fixture
async def engines() -> AsyncIterator[tuple[FakeVllm, FakeVllm]]:
    async with FakeVllm() as one, FakeVllm() as other:
        yield one, other


@pytest.fixture
async def gateway(engines: tuple[FakeVllm, FakeVllm]) -> AsyncIterator[RunningGateway]:
    async with running_gateway(*engines) as gateway:
        await until(lambda: len(gateway.dispatcher.engines_serving("tiny")) == 2)
        yield gateway


async def closes(_: Conversation) -> None:
    """In the middle of the answer, but what was written arrives."""


async def test_a_call_goes_on_elsewhere_when_its_engine_fails(
    engines: tuple[FakeVllm, FakeVllm], gateway: RunningGateway
) -> None:
    """Whichever of the two gets it first."""
    failed: list[str] = []

    async def fails_the_first(conversation: Conversation) -> None:
        script = answers(COMPLETION) if failed else resets
        if not failed:
            failed.append(conversation.request.header("x-request-id") or "")
        await script(conversation)

    for engine in engines:
        engine.on_call = fails_the_first
    answer = await gateway.post(CHAT, ASK, headers={"X-Justitia-Application": "a"})
    assert (answer.status_code, answer.json()) == (200, COMPLETION)
    assert [len(engine.calls) for engine in engines] == [1, 1]
    [again] = [call for engine in engines for call in engine.calls if call.header("x-request-id") not in failed]
    assert again.header("x-session-id") == "anonymous/a"
    assert len(answer.headers.get_list("x-justitia-queue-ms")) == 1
    assert await gateway.metric("calls_total", outcome="retried") == 1
    assert await gateway.metric("calls_total", outcome="completed") == 1
    assert await gateway.metric("calls_total", outcome="failed") == 0
    assert (await gateway.client.get("/v1/applications/a")).json()["calls_running"] == 0


async def test_it_is_retried_once(engines: tuple[FakeVllm, FakeVllm], gateway: RunningGateway) -> None:
    for engine in engines:
        engine.on_call = resets
    answer = await gateway.post(CHAT, ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_unreachable")
    assert sum(len(engine.calls) for engine in engines) == 2
    assert await gateway.metric("calls_total", outcome="failed") == 1


async def test_not_after_its_first_byte(engines: tuple[FakeVllm, FakeVllm], gateway: RunningGateway) -> None:
    for engine in engines:
        engine.on_call = streams_then([EVENT], closes)
    answer = await gateway.post(CHAT, ASK | {"stream": True})
    assert answer.content.startswith(EVENT)
    assert b"engine_unreachable" in answer.content
    assert sum(len(engine.calls) for engine in engines) == 1


async def test_a_stream_that_broke_before_its_first_event_begins_anew(
    engines: tuple[FakeVllm, FakeVllm], gateway: RunningGateway
) -> None:
    """Its head was passed on already, and serves for the second answer."""
    failed: list[None] = []

    async def script(conversation: Conversation) -> None:
        is_first = not failed
        failed.append(None)
        await (streams_then([] if is_first else [EVENT], closes if is_first else Conversation.end_stream))(conversation)

    for engine in engines:
        engine.on_call = script
    answer = await gateway.post(CHAT, ASK | {"stream": True})
    assert (answer.status_code, answer.content) == (200, EVENT)
    assert sum(len(engine.calls) for engine in engines) == 2


async def test_nobody_else_to_ask(engines: tuple[FakeVllm, FakeVllm]) -> None:
    one, _ = engines
    async with running_gateway(one) as gateway:
        one.on_call = resets
        assert (await gateway.post(CHAT, ASK)).status_code == 502
        assert len(one.calls) == 1


async def test_a_chain_of_responses_stays_where_it_is_stored(
    engines: tuple[FakeVllm, FakeVllm], gateway: RunningGateway
) -> None:
    for number, engine in enumerate(engines):
        engine.on_call = answers({"id": f"resp_{number}", "output": []})
    first = (await gateway.post(RESPONSES, {"model": "tiny", "input": "q"})).json()["id"]
    home = engines[int(first[-1])]
    before = [len(engine.calls) for engine in engines]
    for _ in range(4):
        again = await gateway.post(RESPONSES, {"model": "tiny", "input": "r", "previous_response_id": first})
        assert again.json()["id"] == first
        assert (await gateway.client.get(f"/v1/responses/{first}")).json()["id"] == first
    grown = [len(engine.calls) - count for engine, count in zip(engines, before, strict=True)]
    assert grown[engines.index(home)] == 4
    other = engines[1 - engines.index(home)]
    assert not [request for request in other.received if request.path.startswith("/v1/responses/")]


async def test_a_lost_home_leaves_the_call_to_the_others(
    engines: tuple[FakeVllm, FakeVllm], gateway: RunningGateway
) -> None:
    for number, engine in enumerate(engines):
        engine.on_call = answers({"id": f"resp_{number}", "output": []})
    first = (await gateway.post(RESPONSES, {"model": "tiny", "input": "q"})).json()["id"]
    await engines[int(first[-1])].stop()
    await until(lambda: len(gateway.dispatcher.engines_serving("tiny")) == 1)
    again = await gateway.post(RESPONSES, {"model": "tiny", "input": "r", "previous_response_id": first})
    assert json.loads(again.content)["id"] == f"resp_{1 - int(first[-1])}"
