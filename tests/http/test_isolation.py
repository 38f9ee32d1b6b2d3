"""Two tenants with keys: whatever name one of them sends, and wherever, it stays among its own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.errors import AuthenticationFailed
from gateway.http.apis import APIS
from gateway.identity import KeyRing, key_digest
from tests.fakes.scripted_vllm import ScriptedVllm, says
from tests.http.gateways import RunningGateway, running_gateway, until

ROUTE = "/v1/applications"
CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
ALICE = {"authorization": "Bearer key-of-alice"}
BOB = {"authorization": "Bearer key-of-bob"}
ISOLATED = {"api_keys": {"key-of-alice": "alice", "key-of-bob": "bob"}, "stored_keys": False}


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedVllm]:
    async with ScriptedVllm(says("Hello."), says("Well.")) as engine:
        yield engine


@pytest.fixture
async def gateway(scripted: ScriptedVllm) -> AsyncIterator[RunningGateway]:
    async with running_gateway(scripted, tenants=ISOLATED) as gateway:
        yield gateway


async def declare(gateway: RunningGateway, who: dict[str, str], **fields: Any) -> httpx.Response:
    return await gateway.post(ROUTE, fields, headers=who)


async def applications(gateway: RunningGateway, who: dict[str, str]) -> dict[str, Any]:
    listed = (await gateway.client.get(ROUTE, headers=who)).json()["data"]
    return {one["id"]: one for one in listed}


NAMES_OF_ANOTHERS = [
    "secret",
    "alice/secret",
    "alice%2Fsecret",
    "..%2Falice%2Fsecret",
    "alice:secret",
    "bob/../alice/secret",
]


@pytest.mark.parametrize("name", NAMES_OF_ANOTHERS)
async def test_anothers_application_is_not_seen_and_not_closed(gateway: RunningGateway, name: str) -> None:
    await declare(gateway, ALICE, id="secret", expected_cost=5.0)
    for method, suffix in (("GET", ""), ("POST", "/close")):
        answer = await gateway.client.request(method, f"{ROUTE}/{name}{suffix}", headers=BOB)
        assert (answer.status_code, "5.0" in answer.text) == (404, False)
    assert await applications(gateway, BOB) == {}
    assert (await applications(gateway, ALICE))["secret"]["predicted_cost"] == 5.0


@pytest.mark.parametrize("name", ["secret", "alice/secret", "../alice/secret"])
async def test_what_is_declared_is_declared_among_ones_own(gateway: RunningGateway, name: str) -> None:
    await declare(gateway, ALICE, id="secret", expected_cost=5.0, weight=1000)
    for fields in ({"id": name}, {"id": "child", "parent": name}):
        answer = await declare(gateway, BOB, **fields, expected_cost=9.0, weight=500)
        assert (answer.status_code, answer.json()["tenant"]) == (201, "bob")
    secret = (await applications(gateway, ALICE))["secret"]
    assert (secret["predicted_cost"], secret["weight"], len(await applications(gateway, ALICE))) == (5.0, 1000, 1)


CLAIMS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "path": ("/apps/secret", {}, {}),
    "path with a tenant": ("/apps/alice%2Fsecret", {}, {}),
    "run": ("/apps/secret/runs/1", {}, {}),
    "header": ("", {"x-justitia-application": "alice/secret"}, {}),
    "tenant header": ("/apps/secret", {"x-justitia-tenant": "alice"}, {}),
    "parent": ("", {"x-justitia-parent": "secret"}, {}),
    "session": ("", {"x-claude-code-session-id": "secret"}, {}),
    "metadata": ("", {}, {"metadata": {"application_id": "secret"}}),
    "user": ("", {}, {"metadata": {"user_id": "user_x_account_y_session_secret"}, "user": "alice"}),
    "cache key": ("", {}, {"prompt_cache_key": "secret"}),
    "conversation": ("", {}, {"conversation": "secret"}),
    "baggage": ("", {"baggage": "session.id=secret"}, {}),
    "final": ("/apps/secret", {"x-justitia-final": "true"}, {}),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
async def test_no_claim_joins_anothers_application(
    scripted: ScriptedVllm, gateway: RunningGateway, claim: tuple[str, dict[str, str], dict[str, Any]]
) -> None:
    prefix, headers, fields = claim
    await declare(gateway, ALICE, id="secret", expected_cost=5.0)
    before = (await applications(gateway, ALICE))["secret"]
    answer = await gateway.post(prefix + CHAT, ASK | fields, headers=BOB | headers)
    assert (answer.status_code, answer.headers["x-justitia-tenant"]) == (200, "bob")
    assert all((told or "").startswith("bob/") for told in scripted.applications())
    after = await applications(gateway, ALICE)
    assert (after["secret"]["calls_ended"], after["secret"]["service"]) == (before["calls_ended"], before["service"])
    assert set(after) == {"secret"}


async def test_traces_and_messages_link_within_a_tenant_only(scripted: ScriptedVllm, gateway: RunningGateway) -> None:
    """The same trace, and a conversation whose every word is the same."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    first = (await gateway.post(CHAT, ASK, headers=ALICE | trace)).json()["choices"][0]["message"]
    talk = ASK["messages"] + [first, {"role": "user", "content": "And?"}]  # type: ignore[operator]
    by_bob = await gateway.post(CHAT, ASK | {"messages": talk}, headers=BOB | trace)
    assert by_bob.headers["x-justitia-identity"] == "none"
    by_alice = await gateway.post(CHAT, ASK | {"messages": talk}, headers=ALICE)
    assert by_alice.headers["x-justitia-identity"] == "lineage"
    assert {name for name in scripted.applications() if name} == {
        name for name in scripted.applications() if name and name.startswith(("alice/", "bob/"))
    }


async def test_anothers_response_does_not_exist(scripted: ScriptedVllm, gateway: RunningGateway) -> None:
    made = (await gateway.post("/v1/responses", {"model": "tiny", "input": "Hi"}, headers=ALICE)).json()
    num_asked = len(scripted.received)

    async def of_bob(method: str, path: str, body: object = None) -> httpx.Response:
        return await gateway.client.request(method, path, json=body, headers=BOB)

    for name in (made["id"], "resp_that_never_was"):
        answers = [
            await of_bob("GET", f"/v1/responses/{name}"),
            await of_bob("GET", f"/apps/secret/v1/responses/{name}"),
            await of_bob("POST", f"/v1/responses/{name}/cancel"),
            await of_bob("POST", "/v1/responses", {"model": "tiny", "input": "x", "previous_response_id": name}),
        ]
        for answer in answers:
            assert answer.status_code == 404
            assert answer.json()["error"]["message"] == f"There is no response {name!r}."
        named = [answer.json()["error"]["param"] for answer in answers]
        assert named == ["response_id"] * 3 + ["previous_response_id"]
    asked = [request.path for request in scripted.received[num_asked:]]
    assert not [path for path in asked if "responses" in path], "the engine was asked for another's"

    assert (await gateway.client.get(f"/v1/responses/{made['id']}", headers=ALICE)).json()["id"] == made["id"]
    more = {"model": "tiny", "input": "x", "previous_response_id": made["id"]}
    assert (await gateway.post("/v1/responses", more, headers=ALICE)).status_code == 200


async def test_usage_is_ones_own(gateway: RunningGateway) -> None:
    for _ in range(3):
        await gateway.post(CHAT, ASK, headers=ALICE)
    await gateway.post(CHAT, ASK, headers=BOB | {"x-justitia-tenant": "alice"})

    async def calls_of(who: dict[str, str]) -> tuple[str, int]:
        usage = (await gateway.client.get("/v1/usage?tenant=alice", headers=who)).json()
        return usage["tenant"], sum(usage["total"]["calls"].values())

    async def is_counted() -> bool:
        return await calls_of(ALICE) == ("alice", 3) and await calls_of(BOB) == ("bob", 1)

    await until(is_counted)


# --- keys -----------------------------------------------------------------------------------------------------------

STRANGERS: dict[str, dict[str, str]] = {
    "no key": {},
    "a wrong key": {"authorization": "Bearer wrong"},
    "a key's beginning": {"authorization": "Bearer key-of-alic"},
    "a key and more": {"authorization": "Bearer key-of-alicee"},
    "another case": {"authorization": "Bearer KEY-OF-ALICE"},
    "the digest": {"authorization": f"Bearer {key_digest('key-of-alice')}"},
    "the tenant": {"x-api-key": "alice"},
    "another scheme": {"authorization": "Basic key-of-alice"},
    "in a cookie": {"cookie": "key-of-alice; authorization=key-of-alice"},
    "for a proxy": {"proxy-authorization": "Bearer key-of-alice"},
}
ROUTES = [("GET", ROUTE), ("POST", ROUTE), ("GET", "/v1/usage"), ("GET", "/v1/models"), ("GET", "/v1/responses/resp_1")]
ROUTES += [("GET", f"{ROUTE}/x"), ("POST", f"{ROUTE}/x/close"), *(("POST", path) for path in APIS)]


@pytest.mark.parametrize("sent", STRANGERS.values(), ids=STRANGERS)
async def test_a_stranger_gets_nothing(scripted: ScriptedVllm, gateway: RunningGateway, sent: dict[str, str]) -> None:
    for method, path in ROUTES:
        answer = await gateway.client.request(method, path, json=ASK if method == "POST" else None, headers=sent)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        error = answer.json()
        assert error["error"]["code"] == "authentication_failed" or path == ROUTE
        is_anthropic = path.startswith("/v1/messages")
        assert (error.get("type"), error["error"]["type"]) == (
            "error" if is_anthropic else None, "authentication_error",
        )  # fmt: skip
    assert scripted.calls == []


async def test_what_is_told_without_a_key(scripted: ScriptedVllm, gateway: RunningGateway) -> None:
    """Counts, modes and the gateway's own routes: no tenant, no application, no key, no text."""
    await gateway.post("/apps/secret" + CHAT, ASK, headers=ALICE)
    told = [await gateway.client.get(path) for path in ("/metrics", "/readyz", "/healthz", "/openapi.json")]
    assert [answer.status_code for answer in told] == [200] * 4
    for answer in told:
        assert not any(word in answer.text for word in ("alice", "secret", "key-of", "Hello."))


def test_every_wrong_key_takes_the_same_steps() -> None:
    """The key is digested and the digest looked up: no comparison meets a key's own characters. What a look-up's time
    could tell is of a digest, which nobody can steer, and whose preimage is what is wanted."""
    ring = KeyRing({key_digest("key-of-alice"): "alice"})
    seen: list[object] = []

    class Watched(dict[str, str]):
        def get(self, digest: str, default: Any = None) -> Any:
            seen.append((type(digest), len(digest)))
            return super().get(digest, default)

    object.__setattr__(ring, "tenants", Watched(ring.tenants or {}))
    messages = set()
    for wrong in ("key-of-alicf", "zzzzzzzzzzzz", "k", "key-of-alice" * 1000, "\udcff", "ключ"):
        with pytest.raises(AuthenticationFailed) as refused:
            ring.tenant_of(wrong)
        messages.add(refused.value.message)
    assert seen == [(str, 64)] * 6
    assert messages == {"this API key is not known here"}


async def test_tenants_at_the_same_time_do_not_mix(scripted: ScriptedVllm, gateway: RunningGateway) -> None:
    async def call(who: dict[str, str], tenant: str) -> None:
        answer = await gateway.post("/apps/same" + CHAT, ASK, headers=who)
        assert answer.headers["x-justitia-tenant"] == tenant

    await asyncio.gather(*(call(ALICE, "alice") for _ in range(20)), *(call(BOB, "bob") for _ in range(20)))
    told = [call.header("x-session-id") for call in scripted.calls]
    assert sorted({name or "" for name in told}) == ["alice/same", "bob/same"]
    assert told.count("alice/same") == told.count("bob/same") == 20
