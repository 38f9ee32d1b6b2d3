"""Whatever a client sends, it gets an answer in the API's shape, and the gateway lives on."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from tests.fakes.engine import COMPLETION, FakeVllm
from tests.http.gateways import RunningGateway, running_gateway, until

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": []}
LIMIT = 64 * 1024


@pytest.fixture
async def small(engine: FakeVllm) -> AsyncIterator[RunningGateway]:
    async with running_gateway(engine, server={"max_body_bytes": LIMIT}) as gateway:
        yield gateway


async def raw(gateway: RunningGateway, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes and read one answer, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(5):
            return await read_answer(reader)
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:-2])
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split(" ")[1]), headers, body


def head(path: str = CHAT, *headers: bytes, method: str = "POST") -> bytes:
    return b"\r\n".join([f"{method} {path} HTTP/1.1".encode("latin-1"), b"host: x", *headers, b"", b""])


def error_of(body: bytes) -> Any:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def lives_on(gateway: RunningGateway) -> None:
    assert (await gateway.post(CHAT, ASK)).json() == COMPLETION


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[1]", None),
        (b"\xff\xfe", None),
        (b"[" * 50_000, None),
        (b'{"messages":[]}', "model"),
        (b'{"model":7}', "model"),
        (b'{"model":"tiny","stream":"yes"}', "stream"),
        (b'{"model":"tiny","max_tokens":"many"}', "max_tokens"),
        (b'{"model":"tiny","stream":true,"stream_options":true}', "stream_options"),
    ],
)
async def test_a_wrong_body_is_the_clients_fault(
    engine: FakeVllm, gateway: RunningGateway, body: bytes, param: str | None
) -> None:
    answer = await gateway.client.post(CHAT, content=body)
    error = error_of(answer.content)
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", param)
    assert engine.calls == []
    await lives_on(gateway)


async def test_an_unknown_model(gateway: RunningGateway) -> None:
    answer = await gateway.post(CHAT, ASK | {"model": "nobody's"})
    error = error_of(answer.content)
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize("cost", ["x", "-1", "0", "nan", "inf", "1e999", "1_0"])
async def test_a_declared_cost_that_is_none(gateway: RunningGateway, cost: str) -> None:
    answer = await gateway.post(CHAT, ASK, headers={"X-Justitia-Expected-Cost": cost})
    assert (answer.status_code, error_of(answer.content)["param"]) == (400, "X-Justitia-Expected-Cost")


async def test_a_body_too_large_is_refused_by_its_length(small: RunningGateway) -> None:
    """Not a byte of it is waited for."""
    status, headers, body = await raw(small, head(CHAT, b"content-length: 104857600"))
    assert (status, error_of(body)["code"]) == (413, "payload_too_large")
    assert headers["connection"] == "close"
    await lives_on(small)


async def test_no_go_ahead_for_a_body_too_large(small: RunningGateway) -> None:
    status, _, _ = await raw(small, head(CHAT, b"content-length: 104857600", b"expect: 100-continue"))
    assert status == 413


async def test_a_body_without_a_length_is_read_up_to_the_limit(small: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(small.url.rpartition(":")[2]))
    writer.write(head(CHAT, b"transfer-encoding: chunked"))
    answering = asyncio.create_task(read_answer(reader))
    num_sent, piece = 0, b"x" * 32768
    while not answering.done() and num_sent < 100 * 2**20:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        num_sent += len(piece)
        try:
            await writer.drain()
        except ConnectionError:
            break
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        status, headers, body = await answering
    writer.close()

    assert (status, error_of(body)["code"], headers["connection"]) == (413, "payload_too_large", "close")
    assert num_sent < LIMIT + 16 * 2**20  # what the sockets' buffers hold comes on top
    await lives_on(small)


@pytest.mark.parametrize("megabytes", [1, 100])
async def test_a_client_that_sends_first_and_reads_later_gets_the_answer(small: RunningGateway, megabytes: int) -> None:
    """Closing at once would reset the connection under it."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(megabytes):
            yield bytes(2**20)

    for headers in ({"content-length": str(megabytes * 2**20)}, {}):
        answer = await small.client.post(CHAT, content=body(), headers=headers)
        assert (answer.status_code, error_of(answer.content)["code"]) == (413, "payload_too_large")


async def test_a_body_of_exactly_the_limit(small: RunningGateway) -> None:
    body = json.dumps(ASK).encode()
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        answer = await small.client.post(CHAT, content=body.ljust(size))
        assert answer.status_code == status


async def test_a_client_that_leaves_before_its_body_is_complete(engine: FakeVllm, gateway: RunningGateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(head(CHAT, b"content-length: 1000") + b'{"model"')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await lives_on(gateway)
    assert len(engine.calls) == 1


# --- routes and headers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/nothing", 404),
        ("POST", "/apps/a/v1/nothing", 404),
        ("POST", "/apps/a/v2/chat/completions", 404),
        ("POST", "/apps//v1/../../metrics", 404),
        ("POST", CHAT + "/", 404),
        ("GET", "/%ff%00/v1", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/apps/a" + CHAT, 405),
        ("POST", "/v1/models", 405),
        ("PATCH", "/v1/applications", 405),
    ],
)
async def test_routes_that_are_none(gateway: RunningGateway, method: str, path: str, status: int) -> None:
    answered, headers, body = await raw(gateway, head(path, b"content-length: 0", method=method))
    assert answered == status
    assert error_of(body)["code"] == "invalid_request"
    assert ("allow" in headers) == (status == 405)


HOSTILE: Iterable[bytes] = (
    b"x-justitia-application: " + b"\xff\xfe<script>" * 100,
    b"x-justitia-application: ../../tenant/other",
    b"x-justitia-kind: " + b"k" * 5000,
    b"x-justitia-parent: a\tb",
    b"x-request-id: \xe9\xff\tx",
    b"x-session-id: " + b"s" * 20_000,
    b"x-vllm-priority: 99999999999999999999999999999999999999",
    b"x-custom: \xe9\xff \x80",
    b"authorization: Bearer \xff\xff",
    b"connection: x-custom, content-type, \xff",
    b"content-type: \x80",
    b"traceparent: " + b"0" * 10_000,
)


@pytest.mark.parametrize("header", HOSTILE, ids=lambda header: header.partition(b":")[0].decode())
async def test_hostile_headers_do_no_harm(engine: FakeVllm, gateway: RunningGateway, header: bytes) -> None:
    body = json.dumps(ASK).encode()
    status, headers, answer = await raw(gateway, head(CHAT, b"content-length: %d" % len(body), header) + body)
    assert (status, json.loads(answer)) == (200, COMPLETION)
    assert all(value.isprintable() for value in headers.values())
    assert (engine.calls[0].header("x-session-id") or "").isascii()
    await lives_on(gateway)


async def test_a_path_that_is_hostile_names_an_application(gateway: RunningGateway) -> None:
    body = json.dumps(ASK).encode()
    path = "/apps/%00%ff%0d%0aset-cookie:x" + CHAT
    status, headers, _ = await raw(gateway, head(path, b"content-length: %d" % len(body)) + body)
    assert status == 200
    assert "set-cookie" not in headers
    assert headers["x-justitia-application"].startswith("x-")


async def test_what_is_not_http_gets_no_further_than_the_server(gateway: RunningGateway) -> None:
    status, _, _ = await raw(gateway, b"\x16\x03\x01 hello\r\n\r\n")
    assert status == 400
    await lives_on(gateway)


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/apps/a" + CHAT, "/v1/applications"])
async def test_a_wrong_key(engine: FakeVllm, path: str) -> None:
    async with running_gateway(engine, tenants={"api_keys": {"right": "team"}}) as gateway:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}, {"x-api-key": ""}):
            answer = await gateway.post(path, ASK, headers=headers)
            assert (answer.status_code, error_of(answer.content)["code"]) == (401, "authentication_failed")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await gateway.client.get("/v1/models")).status_code == 401
        assert await gateway.metric("unauthenticated_calls_total") == 5
        assert engine.calls == []

        answer = await gateway.post(CHAT, ASK, headers={"Authorization": "Bearer right"})
        assert (answer.status_code, answer.headers["x-justitia-tenant"]) == (200, "team")


async def test_a_stranger_cannot_make_us_read_a_body(engine: FakeVllm) -> None:
    async with running_gateway(engine, tenants={"api_keys": {"right": "team"}}) as gateway:
        status, headers, _ = await raw(gateway, head(CHAT, b"content-length: 1000000"))
        assert (status, headers["connection"]) == (401, "close")


# --- the queue ------------------------------------------------------------------------------------------------------


async def test_a_full_queue_says_when_to_come_again(engine: FakeVllm) -> None:
    engine.is_full = True
    scheduling = {"dispatch_margin_calls": 1, "max_queued_calls": 1, "queue_timeout_s": 0.3}
    gate = asyncio.Event()

    async def waits(conversation: Any) -> None:
        await gate.wait()
        await FakeVllm().on_call(conversation)

    engine.on_call = waits
    async with running_gateway(engine, scheduling=scheduling) as gateway:
        inside = asyncio.create_task(gateway.post("/apps/a" + CHAT, ASK))
        await engine.call_arrived()
        await engine.was_read()
        queued = asyncio.create_task(gateway.post("/apps/a" + CHAT, ASK))
        await until(lambda: _queued(gateway))
        refused = await gateway.post("/apps/a" + CHAT, ASK)
        assert (refused.status_code, error_of(refused.content)["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1

        timed_out = await queued
        assert (timed_out.status_code, error_of(timed_out.content)["code"]) == (503, "queue_timeout")
        assert int(timed_out.headers["retry-after"]) >= 1
        gate.set()
        assert (await inside).status_code == 200


async def _queued(gateway: RunningGateway) -> bool:
    return await gateway.metric("calls_queued") == 1


@pytest.mark.parametrize("depth", range(960, 1030, 6))
async def test_nesting_at_the_limit_of_any_reader_is_no_fault_of_ours(gateway: RunningGateway, depth: int) -> None:
    """With a field that has the body written anew."""
    deep = "[" * depth + "]" * depth
    body = f'{{"model": "tiny", "priority": 1, "messages": [], "metadata": {deep}}}'
    answer = await gateway.client.post("/v1/chat/completions", content=body)
    assert answer.status_code in (200, 400)
