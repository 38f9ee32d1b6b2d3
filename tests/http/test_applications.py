import asyncio
from typing import Any

import pytest

from tests.fakes.engine import FakeVllm, hangs
from tests.http.gateways import RunningGateway, running_gateway, until

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": []}
ROUTE = "/v1/applications"


def key(name: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Authorization": f"Bearer {name}"}}


async def declare(gateway: RunningGateway, who: str = "a", **fields: Any) -> Any:
    answer = await gateway.post(ROUTE, fields, **key(who))
    assert answer.status_code == 201
    return answer.json()


async def test_a_declaration_may_be_empty(gateway: RunningGateway) -> None:
    for options in ({}, {"json": {}}):
        answer = await gateway.client.post(ROUTE, **options)
        assert answer.status_code == 201
        described = answer.json()
        assert described["id"].startswith("app-")
        assert (described["kind"], described["weight"], described["parent"]) == ("default", 1000, None)
        assert (await gateway.client.get(f"{ROUTE}/{described['id']}")).json() == described


async def test_what_was_declared_counts(gateway: RunningGateway) -> None:
    fields = {"id": "nightly", "kind": "Summary", "weight": 2000, "expected_cost": 500.0, "parent": "main"}
    described = await declare(gateway, **fields)
    assert described["kind"] == "summary"
    assert (described["id"], described["parent"], described["weight"]) == ("nightly", "main", 2000)
    assert described["predicted_cost"] == 500.0
    assert described["virtual_finish_time"] == described["virtual_time"] + 250.0
    assert (await declare(gateway, id="nightly", weight=1))["weight"] == 2000  # it is open already


async def test_calls_and_declarations_mean_the_same_application(gateway: RunningGateway) -> None:
    await gateway.post("/apps/odd%20name" + CHAT, ASK, **key("a"))
    listed = (await gateway.client.get(ROUTE, **key("a"))).json()["data"]
    assert len(listed) == 1
    for name in ("odd%20name", listed[0]["id"]):
        assert (await gateway.client.get(f"{ROUTE}/{name}", **key("a"))).json() == listed[0]


async def test_the_list_is_in_order_of_virtual_finish_time(gateway: RunningGateway) -> None:
    for name, cost in (("large", 900.0), ("small", 100.0), ("middle", 500.0)):
        await declare(gateway, id=name, expected_cost=cost)
    listed = (await gateway.client.get(ROUTE, **key("a"))).json()
    assert [application["id"] for application in listed["data"]] == ["small", "middle", "large"]
    assert [application["position"] for application in listed["data"]] == [1, 2, 3]
    assert listed["data"][2]["ahead"] == ["small", "middle"]


async def test_tenants_never_see_each_other(gateway: RunningGateway) -> None:
    await declare(gateway, "other", id="theirs", expected_cost=1.0)
    await declare(gateway, "other", id="mine", expected_cost=2.0)
    mine = await declare(gateway, "a", id="mine", expected_cost=1000.0)

    assert (mine["position"], mine["num_ahead"], mine["ahead"]) == (3, 2, [])
    assert [one["id"] for one in (await gateway.client.get(ROUTE, **key("a"))).json()["data"]] == ["mine"]
    for method, path in (("GET", f"{ROUTE}/theirs"), ("POST", f"{ROUTE}/theirs/close")):
        answer = await gateway.client.request(method, path, **key("a"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "application_not_found")
    tenant = (await gateway.client.get(f"{ROUTE}/theirs", **key("other"))).json()["tenant"]
    answer = await gateway.client.get(f"{ROUTE}/{tenant}%2Ftheirs", **key("a"))
    assert answer.status_code == 404


async def test_closing(gateway: RunningGateway) -> None:
    await declare(gateway, id="x", expected_cost=5.0)
    closed = await gateway.client.post(f"{ROUTE}/x/close", **key("a"))
    assert (closed.status_code, closed.json()["id"], closed.json()["status"]) == (200, "x", "closed")
    again = await gateway.client.post(f"{ROUTE}/x/close", **key("a"))
    assert (again.status_code, again.json()["error"]["code"]) == (409, "application_closed")
    gone = await gateway.client.get(f"{ROUTE}/x", **key("a"))
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "application_not_found")


async def test_why_it_waits(engine: FakeVllm) -> None:
    engine.on_call, engine.is_full = hangs, True
    async with running_gateway(engine, scheduling={"dispatch_margin_calls": 1}) as gateway:
        calls = [asyncio.create_task(gateway.post("/apps/x" + CHAT, ASK))]
        await engine.call_arrived()
        await engine.was_read()
        calls += [asyncio.create_task(gateway.post("/apps/x" + CHAT, ASK)) for _ in range(2)]

        async def counted() -> bool:
            answer = await gateway.client.get(f"{ROUTE}/x")
            return answer.status_code == 200 and answer.json()["calls_waiting"] == 2

        await until(counted)
        assert (await gateway.client.get(f"{ROUTE}/x")).json()["calls_running"] == 1
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"id": 5}, "id"),
        ({"id": ""}, "id"),
        ({"weight": 0}, "weight"),
        ({"weight": 1.5}, "weight"),
        ({"weight": 10**9}, "weight"),
        ({"weight": "1000"}, "weight"),
        ({"expected_cost": -1}, "expected_cost"),
        ({"expected_cost": 1e300}, "expected_cost"),
        ({"colour": "red"}, "colour"),
        ([], None),
    ],
)
async def test_a_wrong_declaration(gateway: RunningGateway, fields: object, param: str | None) -> None:
    answer = await gateway.post(ROUTE, fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", param)


@pytest.mark.parametrize(
    ("body", "kind", "said"), [("{", "application/json", "not JSON"), ("{}", "text/plain", "Content-Type")]
)
async def test_a_declaration_that_is_none(gateway: RunningGateway, body: str, kind: str, said: str) -> None:
    answer = await gateway.client.post(ROUTE, content=body, headers={"content-type": kind})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


async def test_who_names_no_kind_has_that_of_others_with_the_same_instructions(gateway: RunningGateway) -> None:
    system = {"role": "system", "content": "You are an airline agent. Today is the 15th."}
    for number in range(4):
        question = {"role": "user", "content": f"question {number}"}
        await gateway.post(f"/apps/run-{number}{CHAT}", {"model": "tiny", "messages": [system, question]}, **key("a"))
    listed = (await gateway.client.get(ROUTE, **key("a"))).json()["data"]
    kinds = {application["id"]: application["kind"] for application in listed}
    assert kinds["run-0"] == kinds["run-1"] == "default"
    assert kinds["run-2"] == kinds["run-3"]
    assert kinds["run-3"].startswith("shape-")
