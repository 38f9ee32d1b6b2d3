"""The real adapter against a scripted server on a real socket."""

import asyncio
from dataclasses import replace

import pytest

from gateway.engines.vllm import VllmEngine
from gateway.engines.wire import rank_to_wire
from gateway.errors import EngineTimeout, EngineUnreachable, InvalidRequest
from gateway.fairness.units import ApplicationId
from gateway.ports import EngineRequest
from gateway.settings import EngineSettings
from tests.fakes.engine import FakeVllm, Script, answers, hangs, resets, streams, streams_then

REQUEST = EngineRequest(
    method="POST",
    path="/v1/chat/completions",
    headers=((b"content-type", b"application/json"), (b"x-custom", b"kept")),
    body=b'{"model":"tiny"}',
    call_id="call-1",
    application_id=ApplicationId("tenant/app"),
    rank=2.5,
)


async def send_and_read(engine: VllmEngine, request: EngineRequest = REQUEST) -> tuple[int, bytes]:
    response = await engine.send(request)
    try:
        return response.status, b"".join([chunk async for chunk in response.chunks()])
    finally:
        await response.aclose()


# --- sending --------------------------------------------------------------------------------------------------------


async def test_a_request_carries_what_steers_the_engine(server: FakeVllm, engine: VllmEngine) -> None:
    await send_and_read(engine)

    call = server.calls[0]
    assert (call.method, call.path, call.body) == ("POST", "/v1/chat/completions", REQUEST.body)
    assert call.header("x-vllm-priority") == str(rank_to_wire(2.5))
    assert call.header("x-session-id") == "tenant/app"
    assert call.header("x-request-id") == "call-1"
    assert call.header("accept-encoding") == "identity"
    assert call.header("x-custom") == "kept"
    assert call.header("authorization") is None


async def test_what_the_adapter_sets_cannot_be_set_by_others(server: FakeVllm, engine: VllmEngine) -> None:
    hostile = (
        (b"x-vllm-priority", b"-9"),
        (b"x-session-id", b"other"),
        (b"x-request-id", b"other"),
        (b"authorization", b"Bearer client"),
        (b"accept-encoding", b"gzip"),
    )
    await send_and_read(engine, replace(REQUEST, headers=hostile))

    sent = {(name.lower(), value) for name, value in server.calls[0].headers}
    assert sent.isdisjoint({(name.decode(), value.decode()) for name, value in hostile})


async def test_the_url_may_name_a_user_unless_there_is_a_key(server: FakeVllm) -> None:
    url = server.url.replace("http://", "http://me:secret@")
    for settings in (EngineSettings(), EngineSettings(api_key="ours")):
        engine = VllmEngine(url, settings)
        await send_and_read(engine)
        await engine.aclose()

    assert [call.header("authorization") for call in server.calls] == ["Basic bWU6c2VjcmV0", "Bearer ours"]


async def test_a_header_that_would_be_two_is_refused(server: FakeVllm, engine: VllmEngine) -> None:
    with pytest.raises(InvalidRequest):
        await engine.send(replace(REQUEST, headers=((b"x-a", b"b\r\nX-VLLM-Priority: -9"),)))
    assert server.calls == []


async def test_the_engine_gets_our_key(server: FakeVllm) -> None:
    engine = VllmEngine(server.url, EngineSettings(api_key="ours"))
    await send_and_read(engine)
    await engine.aclose()

    assert server.calls[0].header("authorization") == "Bearer ours"


async def test_a_base_url_may_have_a_path(server: FakeVllm) -> None:
    engine = VllmEngine(f"{server.url}/behind/", EngineSettings())
    server.on_call = answers({})
    await send_and_read(engine)
    await engine.aclose()

    assert server.received[0].path == "/behind/v1/chat/completions"
    assert engine.name == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("url", ["ftp://host", "host:8000", "http://", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not the URL"):
        VllmEngine(url, EngineSettings())


async def test_an_answer_comes_as_it_is(server: FakeVllm, engine: VllmEngine) -> None:
    server.on_call = answers({"error": "too long"}, 400, [("X-Engine", "yes")])
    response = await engine.send(REQUEST)

    assert response.status == 400
    assert (b"X-Engine", b"yes") in response.headers
    assert b"".join([chunk async for chunk in response.chunks()]) == b'{"error": "too long"}'
    await response.aclose()


async def test_chunks_come_as_they_arrive(server: FakeVllm, engine: VllmEngine) -> None:
    server.on_call = streams_then([b"first"], hangs)
    response = await engine.send(REQUEST)

    assert await anext(response.chunks()) == b"first"
    await response.aclose()


async def test_redirects_are_not_followed(server: FakeVllm, engine: VllmEngine) -> None:
    server.on_call = answers({}, 307, [("location", "/v1/elsewhere")])
    assert (await send_and_read(engine))[0] == 307
    assert len(server.calls) == 1


async def test_cookies_are_not_kept(server: FakeVllm) -> None:
    server.on_call = answers({}, 200, [("set-cookie", "who=me")])
    engine = VllmEngine(f"http://localhost:{server.port}", EngineSettings())  # of numbers no cookie is ever kept
    await send_and_read(engine)
    await send_and_read(engine)
    await engine.aclose()
    assert server.calls[1].header("cookie") is None


async def test_many_calls_run_at_once(server: FakeVllm) -> None:
    """More than the pools of both libraries would allow by default."""
    server.on_call = hangs
    engine = VllmEngine(server.url, EngineSettings(connect_timeout_s=60))
    sending = [asyncio.create_task(engine.send(REQUEST)) for _ in range(150)]
    async with asyncio.timeout(60):
        await server.call_arrived(150)
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    await engine.aclose()


# --- what can go wrong ----------------------------------------------------------------------------------------------


async def test_nobody_listens(server: FakeVllm, engine: VllmEngine) -> None:
    await server.stop()
    for ask in (engine.probe, lambda: engine.read_state(0), lambda: engine.send(REQUEST)):
        with pytest.raises(EngineUnreachable, match=engine.name):
            await ask()


async def test_a_reset_before_the_answer(server: FakeVllm, engine: VllmEngine) -> None:
    server.on_call = resets
    with pytest.raises(EngineUnreachable):
        await engine.send(REQUEST)


async def test_silence_before_the_answer(server: FakeVllm) -> None:
    engine = VllmEngine(server.url, EngineSettings(silence_timeout_s=0.05))
    server.on_call = hangs
    with pytest.raises(EngineTimeout):
        await engine.send(REQUEST)
    await engine.aclose()


async def test_silence_within_the_answer(server: FakeVllm) -> None:
    engine = VllmEngine(server.url, EngineSettings(silence_timeout_s=0.05))
    server.on_call = streams_then([b"first"], hangs)
    with pytest.raises(EngineTimeout):
        await send_and_read(engine)
    await engine.aclose()


async def _ends_too_early(conversation: object) -> None:
    """The script returns and the connection is closed, politely, in the middle of the answer."""


def _raw(data: bytes) -> Script:
    async def script(conversation: object) -> None:
        await conversation.raw(data)  # type: ignore[attr-defined]

    return script


@pytest.mark.parametrize(
    "script",
    [
        streams_then([b"first"], resets),
        streams_then([b"first"], _ends_too_early),
        _raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"),
        _raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n"),
        _raw(b"this is not HTTP\r\n\r\n"),
    ],
    ids=["reset", "closed within a stream", "closed within a body", "broken chunk", "not HTTP"],
)
async def test_an_answer_that_breaks_off(server: FakeVllm, engine: VllmEngine, script: Script) -> None:
    server.on_call = script
    with pytest.raises(EngineUnreachable):
        await send_and_read(engine)


async def test_hanging_up_reaches_the_engine(server: FakeVllm, engine: VllmEngine) -> None:
    server.on_call = streams_then([b"first"], hangs)
    response = await engine.send(REQUEST)
    await anext(response.chunks())
    await response.aclose()

    async with asyncio.timeout(1):
        await server.calls[0].hung_up.wait()


async def test_a_cancelled_call_hangs_up(server: FakeVllm, engine: VllmEngine) -> None:
    server.on_call = hangs
    sending = asyncio.create_task(engine.send(REQUEST))
    call = await server.call_arrived()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    async with asyncio.timeout(1):
        await call.hung_up.wait()


# --- state ----------------------------------------------------------------------------------------------------------


async def test_a_patched_engine_tells_everything(server: FakeVllm, engine: VllmEngine) -> None:
    server.service, server.is_full = 1234.5, True
    record = {"sequence": 0, "call_id": "call-0", "application_id": "t/a", "service": 60.25, "reason": "stop"}
    record |= {"prompt_tokens": 10, "cached_tokens": 4, "output_tokens": 5, "preemptions": 1}
    server.finished = [record]
    server.on_call = hangs
    sending = asyncio.create_task(engine.send(REQUEST))
    await server.call_arrived()

    mode, state = await engine.probe(), await engine.read_state(0)

    assert (mode.name, mode.models) == ("patched", ("tiny",))
    assert (state.service, state.capacity_kv_tokens, state.free_kv_tokens) == (1234.5, 8192, 0)
    assert state.waiting_calls == {"call-1"}
    assert (state.passed, state.next_sequence) == (2, 1)
    finished = state.finished[0]
    assert (finished.call_id, finished.service, finished.cached_tokens) == ("call-0", 60.25, 4)
    assert (await engine.read_state(1)).finished == ()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_ranks_are_sent_as_integers(server: FakeVllm, engine: VllmEngine) -> None:
    await engine.probe()
    await engine.rerank({ApplicationId("t/a"): 1.5, ApplicationId("t/b"): float("inf")})
    assert server.ranks == [{"t/a": rank_to_wire(1.5), "t/b": rank_to_wire(float("inf"))}]


async def test_a_stock_engine_is_read_from_its_metrics(server: FakeVllm, engine: VllmEngine) -> None:
    server.is_patched = False
    mode, state = await engine.probe(), await engine.read_state(0)
    await engine.rerank({ApplicationId("t/a"): 1.0})

    assert mode.name == "unordered"
    assert (state.service, state.num_waiting, state.capacity_kv_tokens) == (None, 2, 4096)
    assert server.ranks == []


async def test_a_stock_engine_is_asked_for_the_patch_once(server: FakeVllm, engine: VllmEngine) -> None:
    server.is_patched = False
    for _ in range(3):
        await engine.read_state(0)
    assert [request.path for request in server.received] == ["/justitia/state?since=0", *3 * ["/metrics"]]


async def test_an_engine_that_comes_back_patched_is_noticed_by_a_probe(server: FakeVllm, engine: VllmEngine) -> None:
    server.is_patched = False
    await engine.read_state(0)
    server.is_patched = True
    assert (await engine.probe()).name == "patched"
    assert (await engine.read_state(0)).service == 0.0


@pytest.mark.parametrize(("policy", "mode"), [("priority", "priority"), ("fcfs", "unordered"), (None, "unordered")])
async def test_the_development_route_tells_the_policy(
    server: FakeVllm, engine: VllmEngine, policy: str | None, mode: str
) -> None:
    server.is_patched = False
    server.server_info = {"vllm_config": {"scheduler_config": {"policy": policy}}}
    assert (await engine.probe()).name == mode


async def test_a_development_route_that_fails_tells_nothing_and_breaks_nothing(
    server: FakeVllm, engine: VllmEngine
) -> None:
    server.is_patched = False
    server.server_info, server.server_info_status = {"error": {"message": "no pip"}}, 500
    assert (await engine.probe()).name == "unordered"


async def test_the_token_is_sent(server: FakeVllm) -> None:
    server.token = "secret"
    engine = VllmEngine(server.url, EngineSettings(token="secret"))
    assert (await engine.probe()).name == "patched"
    await engine.aclose()


async def test_a_wrong_token_is_said_and_not_taken_for_a_stock_engine(server: FakeVllm, engine: VllmEngine) -> None:
    server.token = "secret"
    with pytest.raises(EngineUnreachable, match=r"key or token.*401"):
        await engine.probe()


async def test_a_slow_state_is_a_timeout(server: FakeVllm) -> None:
    engine = VllmEngine(server.url, EngineSettings(state_timeout_s=0.05))
    server.on_state = hangs
    with pytest.raises(EngineTimeout):
        await engine.read_state(0)
    await engine.aclose()


@pytest.mark.parametrize("state", [{}, [], None, "x", {"version": 2}, {"version": 1, "incarnation": "soon"}], ids=repr)
async def test_nonsense_is_no_state(server: FakeVllm, engine: VllmEngine, state: object) -> None:
    server.on_state = answers(state)
    with pytest.raises(EngineUnreachable, match=r"state route|version"):
        await engine.read_state(0)


async def test_a_stranger_on_the_port_is_no_engine(server: FakeVllm, engine: VllmEngine) -> None:
    server.on_models = streams(*([b"x" * 2**20] * 20))
    with pytest.raises(EngineUnreachable, match="more than"):
        await engine.probe()
