"""The middleware alone, over ASGI, with an engine that answers or does not."""

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from engine_patch import routes

CALL = "call-" + "0" * 32


class FakeEngineCore:
    """Records the utility calls and answers them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answer: Any = {"version": 1}

    async def call_utility_async(self, method: str, argument: Any) -> Any:
        self.calls.append((method, argument))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _client(engine_core: Any, client: tuple[str, int] = ("127.0.0.1", 1234)) -> httpx.AsyncClient:
    async def echo(request: Request) -> JSONResponse:
        return JSONResponse({"session": request.headers.get("x-session-id"), "path": request.url.path})

    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    app.add_middleware(routes.JustitiaRoutes)
    app.state.engine_client = SimpleNamespace(engine_core=engine_core)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=client), base_url="http://engine")


@pytest.fixture
def engine_core() -> FakeEngineCore:
    return FakeEngineCore()


@pytest.fixture
async def client(engine_core: FakeEngineCore) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(engine_core) as client:
        yield client


async def test_state_passes_since_on(client: httpx.AsyncClient, engine_core: FakeEngineCore) -> None:
    assert (await client.get("/justitia/state?since=17")).json() == {"version": 1}
    assert (await client.get("/justitia/state")).status_code == 200
    assert engine_core.calls == [("justitia_state", 17), ("justitia_state", 0)]


@pytest.mark.parametrize("since", ["", "-1", "1.5", "x", "1e3", "9" * 20, "9" * 5000, "0x10", "%00", "²"])
async def test_a_bad_since_is_the_clients_error(
    client: httpx.AsyncClient, engine_core: FakeEngineCore, since: str
) -> None:
    response = await client.get(f"/justitia/state?since={since}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert engine_core.calls == []


async def test_ranks_pass_on_and_the_count_comes_back(client: httpx.AsyncClient, engine_core: FakeEngineCore) -> None:
    engine_core.answer = 3
    ranks = {"t/app": 2**63 - 1, "~": 0}
    response = await client.post("/justitia/ranks", json={"ranks": ranks})
    assert (response.status_code, response.json()) == (200, {"reranked": 3})
    assert engine_core.calls == [("justitia_rerank", ranks)]


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"ranks": []}',
    b'{"ranks": null}',
    b'{"ranks": {"a": 1.5}}',
    b'{"ranks": {"a": "1"}}',
    b'{"ranks": {"a": true}}',
    b'{"ranks": {"a": null}}',
    b'{"ranks": {"a": -1}}',
    b'{"ranks": {"a": 9223372036854775808}}',
    b'{"ranks": {"a": NaN}}',
    b'{"ranks": {"a": ' + b"9" * 5000 + b"}}",
    b'{"ranks": {"": 1}}',
    b'{"ranks": {"caf\xc3\xa9": 1}}',
    b'{"ranks": {"\\ud800": 1}}',
    b'{"ranks": {"a\\n": 1}}',
    b'{"ranks": {"' + b"a" * 257 + b'": 1}}',
    b"[" * 100_000,
    b"\xff\xfe\xfd",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: body[:24].decode("latin-1"))
async def test_bad_ranks_are_the_clients_error(
    client: httpx.AsyncClient, engine_core: FakeEngineCore, body: bytes
) -> None:
    response = await client.post("/justitia/ranks", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert engine_core.calls == []


async def test_a_body_without_end_is_cut_off(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 65_536

    response = await client.post("/justitia/ranks", content=endless())
    assert response.status_code == 413
    assert sent * 65_536 <= routes.MAX_BODY_BYTES + 2 * 65_536


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/justitia/state", 405), ("GET", "/justitia/ranks", 405), ("GET", "/justitia/other", 404)],
)
async def test_other_methods_and_paths(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await client.request(method, path)).status_code == status


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (RuntimeError("engine is dead"), 503, "engine_unreachable"),
        (AttributeError("no scheduler of ours"), 503, "engine_unreachable"),
        (TimeoutError(), 504, "engine_timeout"),
    ],
)
async def test_an_engine_that_fails_is_reported(
    client: httpx.AsyncClient, engine_core: FakeEngineCore, failure: Exception, status: int, code: str
) -> None:
    engine_core.answer = failure
    response = await client.get("/justitia/state")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_without_a_token_only_this_machine_is_answered(engine_core: FakeEngineCore) -> None:
    for host, status in [("127.0.0.1", 200), ("127.8.9.1", 200), ("::1", 200), ("10.0.0.7", 403), ("testclient", 403)]:
        async with _client(engine_core, (host, 1)) as client:
            assert (await client.get("/justitia/state")).status_code == status


async def test_a_token_is_asked_of_everybody(engine_core: FakeEngineCore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(routes.TOKEN_VARIABLE, "sécret")
    for host in ("127.0.0.1", "10.0.0.7"):
        async with _client(engine_core, (host, 1)) as client:
            for authorization in ("", "sécret", "Bearer", "Bearer ", "Bearer s", "Basic sécret", "Bearer sécret x"):
                headers = {"Authorization": authorization.encode()}
                response = await client.get("/justitia/state", headers=headers)
                assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
            assert (await client.post("/justitia/ranks", content=b"{")).status_code == 401
            assert engine_core.calls == []
            headers = {"Authorization": "bearer sécret".encode()}
            assert (await client.get("/justitia/state", headers=headers)).status_code == 200
            engine_core.calls.clear()


async def test_everything_else_goes_through_untouched(client: httpx.AsyncClient) -> None:
    headers = {"X-Session-ID": "t/app", "X-Request-Id": CALL}
    response = await client.post("/v1/chat/completions", json={}, headers=headers)
    assert response.json() == {"session": "t/app", "path": "/v1/chat/completions"}
    assert (await client.get("/justitia")).json()["path"] == "/justitia"


async def test_on_responses_the_call_id_travels_with_the_session(client: httpx.AsyncClient) -> None:
    async def session(**headers: str) -> Any:
        response = await client.post(
            "/v1/responses", json={}, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        return json.loads(response.content)["session"]

    assert await session(X_Session_ID="t/app", X_Request_Id=CALL) == f"t/app\x1f{CALL}"
    assert await session(X_Session_ID="t/app", X_Request_Id="something else") == "t/app"
    assert await session(X_Request_Id=CALL) is None


async def test_sockets_and_startup_pass_by() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any: ...

    for kind in ("websocket", "lifespan"):
        await routes.JustitiaRoutes(app)({"type": kind, "path": "/justitia/state"}, nothing, nothing)
    assert seen == ["websocket", "lifespan"]
