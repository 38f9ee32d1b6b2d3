"""The patch in a real vLLM server: HTTP in front, EngineCore in its own process, a real (if silly) model behind."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.fakes.running_engine import RunningEngine
from tests.fakes.waiting import until

pytestmark = pytest.mark.engine

PATIENCE_S = 60.0


@pytest.fixture
async def client(engine: RunningEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with engine.client() as client:
        await _until(client, lambda state: state["num_running"] + state["num_waiting"] == 0)
        yield client


async def _state(client: httpx.AsyncClient, since: int = 0) -> dict[str, Any]:
    response = await client.get("/justitia/state", params={"since": since})
    assert response.status_code == 200, response.text
    state: dict[str, Any] = response.json()
    return state


async def _until(
    client: httpx.AsyncClient, is_reached: Callable[[dict[str, Any]], bool], since: int = 0
) -> dict[str, Any]:
    """Asks for the state until it is as wanted."""
    state: dict[str, Any] = {}

    async def is_as_wanted() -> bool:
        nonlocal state
        state = await _state(client, since)
        return is_reached(state)

    await until(is_as_wanted, PATIENCE_S)
    return state


def _headers(call: int, application: str, rank: int) -> dict[str, str]:
    return {"X-Request-Id": _call_id(call), "X-Session-ID": application, "X-Vllm-Priority": str(rank)}


def _call_id(call: int) -> str:
    return f"call-{call:032x}"


async def _complete(
    client: httpx.AsyncClient, call: int, application: str, rank: int, *, max_tokens: int, prompt: str = ""
) -> None:
    body = {"model": "tiny", "prompt": prompt or f"call {call}", "max_tokens": max_tokens, "ignore_eos": True}
    response = await client.post("/v1/completions", json=body, headers=_headers(call, application, rank))
    assert response.status_code == 200, response.text


ROUTES: list[tuple[str, dict[str, Any], int]] = [
    ("chat/completions", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "n": 2}, 2),
    ("completions", {"prompt": ["hello", "world"], "max_tokens": 4}, 2),
    ("responses", {"input": "hello", "max_output_tokens": 4}, 1),
    ("messages", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}, 1),
]


@pytest.mark.parametrize(("route", "body", "num_requests"), ROUTES)
async def test_every_route_carries_call_application_and_rank(
    engine: RunningEngine, client: httpx.AsyncClient, route: str, body: dict[str, Any], num_requests: int
) -> None:
    since = (await _state(client))["next_sequence"]
    rank = 2**62 + len(route)
    headers = _headers(len(route), f"t/{route}", rank)
    response = await client.post(f"/v1/{route}", json={"model": "tiny", **body}, headers=headers)
    assert response.status_code == 200, response.text
    records = (await _state(client, since))["finished"]
    assert len(records) == num_requests
    for record in records:
        assert (record["call_id"], record["application_id"]) == (_call_id(len(route)), f"t/{route}")
        assert (record["output_tokens"], record["reason"]) == (4, "length")
    added = [event for event in engine.events() if event["event"] == "added"][-num_requests:]
    assert [event["rank"] for event in added] == [rank] * num_requests


async def test_capacity_is_what_vllm_says_less_the_null_block(client: httpx.AsyncClient) -> None:
    state = await _state(client)
    metrics = (await client.get("/metrics")).text
    [info] = [line for line in metrics.splitlines() if line.startswith("vllm:cache_config_info{")]
    assert 'num_gpu_blocks="65"' in info
    assert state["capacity_kv_tokens"] == state["free_kv_tokens"] == 64 * state["block_size"] == 2048
    assert (state["max_num_seqs"], state["policy"], state["hook_failures"]) == (4, "priority", 0)


async def test_the_routes_ask_for_their_token(client: httpx.AsyncClient, engine: RunningEngine) -> None:
    async with httpx.AsyncClient(base_url=engine.url) as stranger:
        assert (await stranger.get("/justitia/state")).status_code == 401
        assert (await stranger.post("/justitia/ranks", json={"ranks": {}})).status_code == 401
        assert (await stranger.get("/health")).status_code == 200


async def test_sixty_clients_who_leave_free_everything_and_are_all_on_record(client: httpx.AsyncClient) -> None:
    since = (await _state(client))["next_sequence"]
    calls = [
        asyncio.create_task(_complete(client, 1000 + number, f"leaver-{number % 7}", number, max_tokens=900))
        for number in range(60)
    ]
    await _until(client, lambda state: state["num_running"] + state["num_waiting"] == 60)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    state = await _until(client, lambda state: state["next_sequence"] - since == 60, since)
    assert (state["num_running"], state["num_waiting"], state["waiting_calls"]) == (0, 0, [])
    assert state["free_kv_tokens"] == state["capacity_kv_tokens"]
    assert {record["call_id"] for record in state["finished"]} == {_call_id(1000 + number) for number in range(60)}
    assert {record["reason"] for record in state["finished"]} == {"abort"}
    assert sum(record["service"] > 0 for record in state["finished"]) >= 4


async def test_a_rerank_over_http_turns_the_queue_round(engine: RunningEngine, client: httpx.AsyncClient) -> None:
    mark = engine.mark()
    async with asyncio.TaskGroup() as calls:
        for number in range(4):  # fill all four slots for two seconds or so
            calls.create_task(_complete(client, 2000 + number, "holder", 0, max_tokens=450))
        await _until(client, lambda state: state["num_running"] == 4)
        for number, application in enumerate(["x", "x", "y", "y", "z", "z"]):
            calls.create_task(_complete(client, 2010 + number, application, 10 + number, max_tokens=2))
        await _until(client, lambda state: len(state["waiting_calls"]) == 6)
        response = await client.post("/justitia/ranks", json={"ranks": {"z": 1, "y": 2, "nobody": 3}})
        assert (response.status_code, response.json()) == (200, {"reranked": 4})
    scheduled = [event["call_id"] for event in engine.events(mark) if event["event"] == "scheduled"]
    places = {scheduled.index(_call_id(2010 + number)): number for number in range(6)}
    assert [places[place] // 2 for place in sorted(places)] == [2, 2, 1, 1, 0, 0]
    reranked = [event["application_id"] for event in engine.events(mark) if event["event"] == "reranked"]
    assert sorted(reranked) == ["y", "y", "z", "z"]  # the calls came in any order


async def test_under_pressure_order_and_account_hold(engine: RunningEngine, client: httpx.AsyncClient) -> None:
    """Prompts share a prefix, memory runs out again and again, ranks are random: nobody better waits, the worst is
    preempted, and what the records charge is what the pool delivered."""
    before, mark = await _state(client), engine.mark()
    draw = random.Random(4)
    async with asyncio.TaskGroup() as calls:
        for number in range(16):
            prompt = "Find the answer in the text. " * 20 + f"Part {number}. " * draw.randrange(1, 20)
            rank = draw.randrange(1000)
            application = f"app-{number % 5}"
            calls.create_task(
                _complete(client, 3000 + number, application, rank, max_tokens=draw.randrange(550, 690), prompt=prompt)
            )
    after = await _until(client, lambda state: state["num_running"] == 0, before["next_sequence"])
    ours = engine.events(mark)
    preemptions = [event for event in ours if event["event"] == "preempted"]
    assert len(preemptions) == after["preemptions"] - before["preemptions"] > 0
    for event in preemptions:
        assert event["rank"] == max(rank for _, rank in event["running"])
    admissions = [event for event in ours if event["event"] == "scheduled"]
    assert len(admissions) == 16
    for event in admissions:
        assert event["best_waiting"] is None or event["rank"] <= event["best_waiting"]
    records = after["finished"]
    assert len(records) == 16
    assert any(record["cached_tokens"] > 0 for record in records)
    charged = sum(record["service"] for record in records)
    assert charged == pytest.approx(after["service"] - before["service"], rel=1e-9)
    assert after["hook_failures"] == 0


async def test_bad_bodies_are_refused_and_the_server_stays_up(client: httpx.AsyncClient) -> None:
    for body in (b"", b"{", b'{"ranks": {"a": 1e400}}', b'{"ranks": {"a": 1.5}}', b'{"ranks": {"\\udfff": 1}}', b"[]"):
        response = await client.post("/justitia/ranks", content=body)
        assert response.status_code == 400, body
    assert (await client.post("/justitia/ranks", content=b" " * 5_000_000)).status_code == 413
    assert (await client.get("/justitia/state?since=nothing")).status_code == 400
    await _complete(client, 4000, "after", 5, max_tokens=2)


@pytest.mark.parametrize("rank", ["1.5", "x", "-3", "9223372036854775807", "9223372036854775808", str(2**70)])
async def test_no_rank_stops_the_engine(client: httpx.AsyncClient, rank: str) -> None:
    headers = {**_headers(5000, "odd", 0), "X-Vllm-Priority": rank}
    await client.post("/v1/completions", json={"model": "tiny", "prompt": "x", "max_tokens": 2}, headers=headers)
    await _complete(client, 5001, "after", 5, max_tokens=2)
    assert (await _state(client))["hook_failures"] == 0


async def test_the_largest_ranks_can_be_sent_over_http(client: httpx.AsyncClient) -> None:
    response = await client.post("/justitia/ranks", json={"ranks": {f"a{n}": 2**63 - 1 - n for n in range(20_000)}})
    assert response.json() == {"reranked": 0}
