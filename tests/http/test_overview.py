"""`GET /v1/overview`: what it tells, to whom, and what it costs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.ports import Snapshot
from gateway.scheduling.overview_desk import KEPT_S, OverviewDesk
from gateway.settings import ImpossibleSetting, Settings, load_settings
from tests.fakes.engine import FakeVllm, hangs
from tests.http.gateways import RunningGateway, running_gateway, until
from tests.http.listeners import head, raw_client

ROUTE = "/v1/overview"
CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": []}
TOKEN = "operator-token-0123456789"
KEYS = {"tenants": {"api_keys": {"key-of-alice": "alice", "key-of-bob": "bob"}, "stored_keys": False}}
HIDDEN = "bobs-secret-plan"


def key(name: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Authorization": f"Bearer {name}"}}


async def look(gateway: RunningGateway, who: str | None = None, **query: object) -> Any:
    answer = await gateway.client.get(ROUTE, params=query, **({} if who is None else key(who)))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def settled(gateway: RunningGateway, who: str | None, **counts: int) -> Any:
    """The overview, as soon as it counts as expected. A reading is kept for a second."""
    found: Any = None

    async def is_so() -> bool:
        nonlocal found
        found = await look(gateway, who)
        return all(found[name] == count for name, count in counts.items())

    await until(is_so, 5 * KEPT_S)
    return found


@asynccontextmanager
async def two_tenants(engine: FakeVllm) -> AsyncIterator[RunningGateway]:
    """Alice's application is behind Bob's, and both have calls; nothing gets through."""
    engine.on_call, engine.is_full = hangs, True
    server, scheduling = {"operator_token": TOKEN}, {"dispatch_margin_calls": 1}
    async with running_gateway(engine, server=server, scheduling=scheduling, **KEYS) as gateway:
        await gateway.post("/v1/applications", {"id": HIDDEN, "expected_cost": 10}, **key("key-of-bob"))
        await gateway.post("/v1/applications", {"id": "mine", "expected_cost": 1e6}, **key("key-of-alice"))
        calls: list[asyncio.Task[Any]] = []
        for name, who in ((HIDDEN, "key-of-bob"), ("mine", "key-of-alice")):
            calls += [asyncio.create_task(gateway.post(f"/apps/{name}{CHAT}", ASK, **key(who))) for _ in range(2)]
            await _are_here(gateway, len(calls))
            await engine.was_read()
        try:
            yield gateway
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


async def _are_here(gateway: RunningGateway, num_calls: int) -> None:
    scheduler = gateway.dispatcher._scheduler
    await until(lambda: scheduler.num_waiting + scheduler.num_dispatched == num_calls)


async def test_the_whole_at_one_look(engine: FakeVllm) -> None:
    async with two_tenants(engine) as gateway:
        found = await settled(gateway, TOKEN, calls_waiting=3, calls_running=1, num_applications=2)
        assert (found["tenant"], found["seen_by"], found["store"], found["store_kind"]) == (
            None,
            "operator",
            "up",
            "memory",
        )
        bobs, alices = found["applications"]
        assert (bobs["position"], bobs["tenant"], bobs["id"], bobs["hold"]) == (1, "bob", HIDDEN, "capacity")
        assert (alices["position"], alices["tenant"], alices["id"], alices["hold"]) == (2, "alice", "mine", "order")
        assert (bobs["calls_waiting"], bobs["calls_running"], alices["calls_waiting"]) == (1, 1, 2)
        (shown,) = found["engines"]
        assert bobs["engines"] == {shown["name"]: 1}
        assert (shown["mode"], shown["models"]) == ("patched", ["tiny"])
        assert (shown["kv_capacity_tokens"], shown["kv_used_tokens"], shown["num_waiting"]) == (8192, 8192, 1)
        assert shown["runs"] == [{"tenant": "bob", "id": HIDDEN, "calls": 1, "waiting": 1}]
        chosen = (await look(gateway, TOKEN, application="alice/mine"))["chosen"]
        assert (chosen["application"]["id"], chosen["calls_ahead"], chosen["num_ahead"]) == ("mine", 1, 1)
        assert chosen["ahead"][0]["id"] == HIDDEN
        assert chosen["work_ahead"] == 10


async def test_a_tenant_sees_its_own_and_of_others_how_many(engine: FakeVllm) -> None:
    async with two_tenants(engine) as gateway:
        found = await settled(gateway, "key-of-alice", calls_waiting=3, num_applications=2)
        assert (found["tenant"], found["seen_by"], found["num_own"]) == ("alice", "key", 1)
        assert [(row["id"], row["position"]) for row in found["applications"]] == [("mine", 2)]
        assert (found["engines"][0]["runs"], found["engines"][0]["other_calls"]) == ([], 1)
        chosen = (await look(gateway, "key-of-alice", application="alice/mine"))["chosen"]
        assert (chosen["ahead"], chosen["num_ahead"], chosen["num_ahead_of_others"]) == ([], 1, 1)


@pytest.mark.parametrize("query", [{}, {"application": f"bob/{HIDDEN}"}, {"text": "bob"}, {"text": "secret"}])
async def test_no_question_of_a_tenants_names_anothers_application(engine: FakeVllm, query: dict[str, str]) -> None:
    async with two_tenants(engine) as gateway:
        await settled(gateway, TOKEN, num_applications=2)  # the operator has asked the same before
        await look(gateway, TOKEN, **query)
        answer = await gateway.client.get(ROUTE, params=query, **key("key-of-alice"))
        assert answer.json()["chosen"] is None
        assert "bob" not in answer.text
        assert "secret" not in answer.text


async def test_a_cap_and_a_quota_are_told_to_their_tenant(engine: FakeVllm) -> None:
    engine.on_call = hangs
    async with running_gateway(engine, **KEYS) as gateway:
        gateway.keys.now = _with_terms(gateway.keys.now, max_running_calls=1)
        calls = [asyncio.create_task(gateway.post(f"/apps/a{CHAT}", ASK, **key("key-of-alice"))) for _ in range(3)]
        await settled(gateway, "key-of-alice", calls_waiting=2, calls_running=1)
        found = await look(gateway, "key-of-alice", application="alice/a")
        assert found["chosen"]["application"]["hold"] == "tenant_cap"
        assert found["chosen"]["limits"] == {"max_running_calls": 1, "running_calls": 1, "quota_wait_s": 0}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        gateway.keys.now = _with_terms(gateway.keys.now, tokens_per_minute=10)
        await gateway.post("/v1/applications", {"id": "a"}, **key("key-of-alice"))
        gateway.dispatcher._metering.quotas.charge("alice", 20.0, 0.0, gateway.dispatcher._now())

        async def is_spent() -> bool:
            chosen = (await look(gateway, "key-of-alice", application="alice/a"))["chosen"]
            return chosen["application"]["hold"] == "quota" and 50 < chosen["limits"]["quota_wait_s"] < 70

        await until(is_spent)


def _with_terms(ring: Any, **terms: int) -> Any:
    from gateway.identity import KeyRing
    from gateway.identity.terms import TenantTerms

    return KeyRing(ring.tenants, {"alice": TenantTerms(**terms)})


async def test_an_engine_that_is_gone_is_down_and_holds_its_models_calls(engine: FakeVllm) -> None:
    engine.on_call = hangs
    async with running_gateway(engine, engines={"unreachable_grace_s": 60.0}) as gateway:
        await engine.stop()
        await until(lambda: not gateway.dispatcher.are_all_up())
        call = asyncio.create_task(gateway.post(f"/apps/a{CHAT}", ASK))
        found = await settled(gateway, None, calls_waiting=1)
        assert (found["engines"][0]["mode"], found["engines"][0]["kv_used_tokens"]) == ("down", None)
        assert found["applications"][0]["hold"] == "no_engine"
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await engine.__aenter__()


# --- who may look ---


async def test_without_a_key_where_there_are_keys(engine: FakeVllm) -> None:
    async with running_gateway(engine, server={"operator_token": TOKEN}, **KEYS) as gateway:
        for options in ({}, key("wrong"), key(TOKEN[:-1]), key(TOKEN + "x"), key(TOKEN.upper())):
            answer = await gateway.client.get(ROUTE, **options)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.text
        assert (await look(gateway, TOKEN))["seen_by"] == "operator"
        by_other_header = await gateway.client.get(ROUTE, headers={"x-api-key": TOKEN})
        assert by_other_header.json()["seen_by"] == "operator"


async def test_the_operators_token_opens_nothing_else(engine: FakeVllm) -> None:
    async with running_gateway(engine, server={"operator_token": TOKEN}, **KEYS) as gateway:
        for path in ("/v1/applications", "/v1/usage", "/v1/models"):
            assert (await gateway.client.get(path, **key(TOKEN))).status_code == 401


async def test_an_open_gateway_shows_everything_on_this_machine_only(engine: FakeVllm) -> None:
    async with running_gateway(engine, server={"operator_token": TOKEN}) as gateway:
        await gateway.post("/v1/applications", {"id": HIDDEN}, **key("bobs"))
        everything = await settled(gateway, None, num_applications=1)
        assert (everything["seen_by"], everything["num_own"]) == ("this_machine", 1)
        by_others = {
            "a proxy": {"x-forwarded-for": "203.0.113.7"},
            "another": {"forwarded": "for=203.0.113.7"},
            "a page whose name leads here": {"host": "evil.example:8080"},
            "a name that begins so": {"host": "localhost.evil.example"},
            "no name": {"host": "["},
        }
        for headers in by_others.values():
            answer = await gateway.client.get(ROUTE, headers=headers)
            assert (answer.json()["seen_by"], answer.json()["tenant"]) == ("key", "anonymous"), headers
            assert HIDDEN not in answer.text
            as_operator = {**headers, "authorization": f"Bearer {TOKEN}"}
            assert HIDDEN in (await gateway.client.get(ROUTE, headers=as_operator)).text
        for host in ("localhost", "localhost:8080", "127.0.0.1", "[::1]:8080"):
            assert (await gateway.client.get(ROUTE, headers={"host": host})).json()["seen_by"] == "this_machine"


async def test_who_names_no_host_is_not_taken_for_this_machine(gateway: RunningGateway) -> None:
    async with raw_client(gateway, b"GET /v1/overview HTTP/1.0\r\n\r\n") as client:
        status, _, body = await client.answer()
        assert (status, b'"seen_by":"key"' in body) == (200, True)
    async with raw_client(gateway, head(ROUTE, method="GET")) as client:  # its host is `x`
        assert b'"seen_by":"key"' in (await client.answer())[2]


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 257, "with a space in it", "with-a-newline-in-it\n", "ümläuts-are-none"]
)
def test_a_token_that_is_none_stops_the_start_and_is_not_shown(token: str) -> None:
    with pytest.raises(ImpossibleSetting, match=r"server\.operator_token = \(not shown\)") as caught:
        load_settings({}, None, {"server": {"operator_token": token}})
    assert not token.strip() or token not in str(caught.value)


def test_a_token_reaches_the_workers_and_no_print() -> None:
    settings = load_settings({}, None, {"server": {"operator_token": TOKEN}})
    assert TOKEN not in repr(settings)
    told = Settings.model_validate_json(settings.model_dump_json())
    assert told.server.operator_token == TOKEN


# --- bounds, and what it costs ---


@pytest.mark.parametrize(
    ("query", "param"),
    [({"limit": 0}, "limit"), ({"limit": 501}, "limit"), ({"limit": "x"}, "limit"), ({"text": "x" * 201}, "text"),
     ({"application": "x" * 257}, "application"), ({"with_calls": "perhaps"}, "with_calls")],
)  # fmt: skip
async def test_what_cannot_be_asked(gateway: RunningGateway, query: dict[str, object], param: str) -> None:
    error = (await gateway.client.get(ROUTE, params=query)).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", param)


async def test_hundreds_of_applications_are_cut_and_found(gateway: RunningGateway) -> None:
    for number in range(130):
        await gateway.post(
            "/v1/applications", {"id": f"app-{number}", "kind": f"k{number % 2}", "expected_cost": 1 + number}
        )
    found = await settled(gateway, None, num_applications=130)
    assert (len(found["applications"]), found["num_matching"], found["is_cut"]) == (100, 130, False)
    assert [row["position"] for row in found["applications"]] == list(range(1, 101))
    filtered = await look(gateway, text="APP-12", limit=5)
    assert [row["id"] for row in filtered["applications"]] == ["app-12", *(f"app-{n}" for n in range(120, 124))]
    assert (filtered["num_matching"], filtered["num_own"]) == (11, 130)
    assert (await look(gateway, with_calls="true"))["applications"] == []


async def test_a_listing_that_is_cut_says_so(engine: FakeVllm) -> None:
    async with running_gateway(engine, applications={"max_listed": 2}) as gateway:
        for name in "abc":
            await gateway.post("/v1/applications", {"id": name})
        assert (await settled(gateway, None, num_applications=2))["is_cut"]


class CountingDesk:
    """Stands before a gateway's own desk and counts, and holds back, its readings."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.insides = gateway.dispatcher.insides()
        self.num_readings = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._snapshot = gateway.dispatcher._applications.snapshot
        gateway.dispatcher._applications.snapshot = self._counted  # type: ignore[method-assign]

    async def _counted(self) -> Snapshot:
        self.num_readings += 1
        await self.may_go_on.wait()
        return await self._snapshot()


async def test_ten_who_look_within_a_second_cost_one_reading(engine: FakeVllm) -> None:
    async with running_gateway(engine, applications={"sweep_interval_s": 1000.0}) as gateway:
        counting, time = CountingDesk(gateway), 100.0
        desk = OverviewDesk(counting.insides, lambda: time, 10)
        counting.may_go_on.clear()
        looking = [asyncio.create_task(desk.overview()) for _ in range(10)]
        await asyncio.sleep(0)
        looking[0].cancel()  # who asked first leaves; the others get their answer
        await asyncio.sleep(0)
        counting.may_go_on.set()
        found = await asyncio.gather(*looking[1:])
        assert (counting.num_readings, len({id(one) for one in found})) == (1, 1)
        time += 0.99 * KEPT_S
        assert (await desk.overview(), counting.num_readings) == (found[0], 1)
        time += 0.01 * KEPT_S
        assert await desk.overview() is not found[0]
        assert counting.num_readings == 2


async def test_a_reading_that_failed_is_not_kept(engine: FakeVllm) -> None:
    async with running_gateway(engine, applications={"sweep_interval_s": 1000.0}) as gateway:
        insides = gateway.dispatcher.insides()
        desk = OverviewDesk(insides, gateway.dispatcher._now, 10)
        look = insides.desk.look

        async def fails(_: object) -> Any:
            raise ValueError("as the test wants it")

        insides.desk.look = fails  # type: ignore[method-assign]
        with pytest.raises(ValueError, match="as the test wants it"):
            await desk.overview()
        insides.desk.look = look  # type: ignore[method-assign]
        assert (await desk.overview()).reading.store_is_up
