"""Clients that mean harm, in bytes against the real server: each is bounded, and the gateway lives on."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.http.control_bodies import MAX_CONTROL_BODY_BYTES
from gateway.http.headers import to_engine
from gateway.listening import ListeningLimits
from tests.fakes.engine import COMPLETION, FakeVllm
from tests.http.gateways import until
from tests.http.listeners import ListeningGateway, head, listening_gateway, raw_client, request

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": []}
BODY = json.dumps(ASK).encode()
LENGTH = b"content-length: %d" % len(BODY)
CHUNKED = b"transfer-encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
LIMITS = ListeningLimits()


@pytest.fixture
async def gateway(engine: FakeVllm) -> AsyncIterator[ListeningGateway]:
    async with listening_gateway(engine) as gateway:
        yield gateway


async def lives_on(gateway: ListeningGateway) -> None:
    assert (await gateway.post(CHAT, ASK)).json() == COMPLETION
    await gateway.is_calm_again()


# --- smuggling ------------------------------------------------------------------------------------------------------

MALFORMED = {
    "length and chunks": head(CHAT, LENGTH, CHUNKED) + CHUNKS,
    "chunks and length": head(CHAT, CHUNKED, b"content-length: 0") + CHUNKS,
    "two lengths": head(CHAT, LENGTH, b"content-length: 0") + BODY,
    "the same length twice": head(CHAT, LENGTH, LENGTH) + BODY,
    "a list of lengths": head(CHAT, b"content-length: 5, 5") + BODY,
    "a length with a sign": head(CHAT, b"content-length: +%d" % len(BODY)) + BODY,
    "a length below zero": head(CHAT, b"content-length: -1") + BODY,
    "a length of 24 digits": head(CHAT, b"content-length: " + b"9" * 24) + BODY,
    "a space before the colon": head(CHAT, b"content-length : %d" % len(BODY)) + BODY,
    "a folded header": head(CHAT, LENGTH, b"x-a: b\r\n content-length: 0") + BODY,
    "bare line feeds": head(CHAT, LENGTH).replace(b"\r\n", b"\n") + BODY,
    "one bare line feed": head(CHAT, LENGTH).replace(b"x\r\n", b"x\n") + BODY,
    "a bare carriage return": head(CHAT, LENGTH).replace(b"x\r\n", b"x\r") + BODY,
    "a NUL in a value": head(CHAT, LENGTH, b"x-a: b\0c") + BODY,
    "a coding that is none": head(CHAT, b"transfer-encoding: xchunked") + CHUNKS,
    "chunks that are not last": head(CHAT, b"transfer-encoding: chunked, identity") + CHUNKS,
    "chunks with bare line feeds": head(CHAT, CHUNKED) + CHUNKS.replace(b"\r\n", b"\n"),
    "a chunk size in C": head(CHAT, CHUNKED) + b"0x" + CHUNKS,
    "a chunk size below zero": head(CHAT, CHUNKED) + b"-" + CHUNKS,
    "a chunk size of 18 digits": head(CHAT, CHUNKED) + b"f" * 18 + b"\r\n",
    "a path with a space": head("/v1/a b", method="GET"),
    "a path beyond ASCII": head("/v1/\xff", method="GET"),
    "an authority for a path": head("x:443", method="CONNECT"),
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
async def test_what_has_two_readings_has_none(engine: FakeVllm, gateway: ListeningGateway, sent: bytes) -> None:
    """Nothing behind it is read either, so it cannot be a second request."""
    smuggled = request(BODY, path="/apps/smuggled" + CHAT)
    async with raw_client(gateway, sent + smuggled) as client:
        status, headers, body = await client.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(body)["error"]["code"] == "invalid_request"
        assert await client.rest() == b""
    assert engine.calls == []
    await lives_on(gateway)


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_another_version_is_refused(engine: FakeVllm, gateway: ListeningGateway, version: str) -> None:
    async with raw_client(gateway, head(CHAT, LENGTH, version=version) + BODY) as client:
        assert (await client.answer())[0] == 505
    assert engine.calls == []


@pytest.mark.parametrize(
    "sent",
    [
        request(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(BODY, path="http://elsewhere.example" + CHAT),
        request(BODY, b"host: another"),
        head(CHAT, CHUNKED) + CHUNKS.replace(b"\r\n{", b";extension=1\r\n{"),
        head(CHAT, CHUNKED, version="1.0") + CHUNKS,
        b"\r\n\r\n" + request(BODY),
        request(BODY, path="/apps/..%2f..%2fother%00" + CHAT),
    ],
)
async def test_what_is_odd_and_has_one_reading_is_served(
    engine: FakeVllm, gateway: ListeningGateway, sent: bytes
) -> None:
    async with raw_client(gateway, sent) as client:
        status, headers, body = await client.answer()
    assert (status, json.loads(body)) == (200, COMPLETION)
    assert re.fullmatch(r"[\w.-]+", headers["x-justitia-application"])
    assert [(call.path, call.body) for call in engine.calls] == [(CHAT, BODY)]


async def test_a_host_in_the_path_is_no_route(gateway: ListeningGateway) -> None:
    async with raw_client(gateway, request(BODY, path="//elsewhere.example" + CHAT)) as client:
        assert (await client.answer())[0] == 404


async def test_trailers_are_no_headers(engine: FakeVllm, gateway: ListeningGateway) -> None:
    trailers = b"0\r\nx-justitia-application: late\r\nx-late: 1\r\n\r\n"
    async with raw_client(gateway, head(CHAT, CHUNKED) + CHUNKS.removesuffix(b"0\r\n\r\n") + trailers) as client:
        _, headers, _ = await client.answer()
    assert headers["x-justitia-identity"] == "none"
    assert engine.calls[0].header("x-late") is None
    declared = b"%x\r\n{}\r\n" % 2
    sent = head("/v1/applications", CHUNKED, b"content-type: application/json") + declared + b"0\r\n"
    async with raw_client(gateway, sent + b"authorization: Bearer late\r\n\r\n") as client:
        assert json.loads((await client.answer())[2])["tenant"] == "anonymous"


async def test_no_header_becomes_two_at_the_engine(engine: FakeVllm, gateway: ListeningGateway) -> None:
    headers = (
        b"x-odd: \x85x-vllm-priority: 1\x0bx-session-id: 2\xe5\x98\x8a\xe5\x98\x8d".replace(b"\x0b", b"\t"),
        b"connection: x-justitia-application, x-vllm-priority, x-session-id, content-length, host",
        b"X-VLLM-Priority: -5",
        b"x_vllm_priority: -6",
        b"x-justitia-application: mine",
    )
    async with raw_client(gateway, request(BODY, *headers)) as client:
        assert (await client.answer())[0] == 200
    call = engine.calls[0]
    names = [name.lower() for name, _ in call.headers]
    assert [names.count(name) for name in ("x-vllm-priority", "x-session-id", "host", "content-length")] == [1] * 4
    assert call.header("x-session-id") == "anonymous/mine"
    assert int(call.header("x-vllm-priority") or "-1") >= 0


def test_a_thousand_connection_headers_are_read_in_linear_time() -> None:
    """One set for all of them: to join them one by one would take quadratic time."""
    headers = [(b"connection", b"x-%d" % number) for number in range(100_000)] + [(b"x-99999", b"1"), (b"x-kept", b"1")]
    assert to_engine(headers) == ((b"x-kept", b"1"),)


async def test_the_engine_reads_the_one_of_two_fields_that_was_judged(
    engine: FakeVllm, gateway: ListeningGateway
) -> None:
    """The last: of Python's JSON, which is also vLLM's."""
    body = b'{"model":"nobody\'s","model":"tiny","messages":[],"stream":true,"stream":false}'
    async with raw_client(gateway, request(body)) as client:
        assert (await client.answer())[0] == 200
    assert (engine.calls[0].body, engine.calls[0].json()["model"]) == (body, "tiny")


# --- too much -------------------------------------------------------------------------------------------------------

OVERSIZED = {
    "headers of a megabyte": head(CHAT, *[b"x-%d: %s" % (i, b"v" * 1000) for i in range(1000)]),
    "10,000 headers": head(CHAT, *[b"x%d:" % i for i in range(10_000)]),
    "one header too many": head(CHAT, *[b"x%d:" % i for i in range(LIMITS.max_headers)]),
    "a path of a megabyte": request(BODY, path="/apps/" + "a" * 2**20 + CHAT),
    "a header without an end": head(CHAT)[:-2] + b"x: " + b"v" * 2**20,
    "a path without an end": b"GET /" + b"a" * 2**20,
    "a chunk's extension without an end": head(CHAT, CHUNKED) + b"1;" + b"e" * 2**20,
    "trailers without an end": head(CHAT, CHUNKED) + b"0\r\n" + b"x: y\r\n" * 2**17,
    "nothing but chunk sizes": head(CHAT, CHUNKED) + b"1\r\n \r\n" * 2**17,
}


@pytest.mark.parametrize("sent", OVERSIZED.values(), ids=OVERSIZED)
async def test_too_much_around_a_body(engine: FakeVllm, gateway: ListeningGateway, sent: bytes) -> None:
    async with raw_client(gateway) as client:
        sending = asyncio.create_task(client.send(sent))
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (431, "close")
        await asyncio.gather(sending, return_exceptions=True)
    assert engine.calls == []
    await lives_on(gateway)


async def test_as_much_as_is_allowed(engine: FakeVllm, gateway: ListeningGateway) -> None:
    headers = [b"x-%d: %s" % (i, b"v" * 200) for i in range(LIMITS.max_headers - 2)]
    async with raw_client(gateway, request(BODY, *headers)) as client:
        assert (await client.answer())[0] == 200
        for _ in range(3):  # of every request anew
            await client.send(request(BODY, *headers))
            assert (await client.answer())[0] == 200
    pieces = b"".join(b"%x\r\n%s\r\n" % (6, BODY[i : i + 6]) for i in range(0, len(BODY) - 6, 6))
    rest = BODY[(len(BODY) - 1) // 6 * 6 :]
    async with raw_client(gateway, head(CHAT, CHUNKED), pieces, b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest)) as client:
        assert (await client.answer())[0] == 200


async def test_a_control_routes_body_is_bounded_whoever_sends_it(engine: FakeVllm) -> None:
    async with listening_gateway(engine, tenants={"api_keys": {"right": "team"}}) as gateway:
        async with raw_client(gateway, head("/v1/applications", CHUNKED)) as client:
            piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            sending = asyncio.create_task(client.send(*[piece] * 64))
            status, headers, body = await client.answer()
            assert (status, headers["connection"]) == (413, "close")
            assert json.loads(body)["error"]["code"] == "payload_too_large"
            await asyncio.gather(sending, return_exceptions=True)
        largest = json.dumps({"id": "\U0001f600" * 4096, "kind": "\U0001f600" * 4096, "parent": "\U0001f600" * 4096})
        assert len(largest) < MAX_CONTROL_BODY_BYTES
        headers = {"authorization": "Bearer right", "content-type": "application/json"}
        answer = await gateway.client.post("/v1/applications", content=largest, headers=headers)
        assert answer.status_code == 201


BOMBS = {
    "32 MiB of brackets": b"[" * (32 * 2**20),
    "32 MiB of objects in objects": b'{"a":' * (32 * 2**20 // 5),
    "deep inside a call": b'{"model":"tiny","messages":' + b"[" * 2**20 + b"]" * 2**20 + b"}",
    "10 million arrays": b'{"model":"tiny","messages":[' + b"[]," * (10 * 2**20) + b"[]]}",
    "an integer of a megabyte": b'{"model":"tiny","seed":' + b"9" * 2**20 + b"}",
    "a number beyond numbers": b'{"model":"tiny","max_tokens":' + b"9" * 4000 + b"}",
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
async def test_a_bomb_of_json(engine: FakeVllm, gateway: ListeningGateway, body: bytes) -> None:
    async with raw_client(gateway, request(body)) as client:
        status, _, answer = await client.answer()
    if status != 200:  # a large number is the engine's to judge
        assert (status, json.loads(answer)["error"]["code"]) == (400, "invalid_request") or answer.count(
            b"cost_exceeds_capacity"
        )
        assert len(answer) < 500
    await lives_on(gateway)


async def test_all_bodies_on_their_way_have_one_limit(engine: FakeVllm) -> None:
    """The one that has been coming for longest is given up; what is complete counts as queued."""
    limits = ListeningLimits(max_incoming_bytes=2**20)
    half = BODY + b" " * (600 * 1024 - len(BODY))
    announced = head(CHAT, b"content-length: %d" % (len(half) + 1))
    async with listening_gateway(engine, limits) as gateway, raw_client(gateway, announced, half) as first:
        await until(lambda: gateway.listening.num_incoming_bytes >= len(half))
        async with raw_client(gateway, announced, half) as second:
            status, headers, body = await first.answer()
            assert (status, headers["retry-after"], json.loads(body)["error"]["code"]) == (503, "1", "overloaded")
            await until(lambda: len(half) <= gateway.listening.num_incoming_bytes <= 2**20)
            await second.send(b" ")
            assert (await second.answer())[0] == 200
        assert len(engine.calls) == 1
        await lives_on(gateway)


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_test_that_the_table_of_threats_names_exists() -> None:
    root = Path(__file__).parents[2]
    section = re.search(r"^## Threats\n(.*?)^## ", (root / "docs/operations.md").read_text() + "## ", re.S | re.M)
    assert section is not None
    rows = [line for line in section[1].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row.split(" | ")[-1])
        assert named, f"no test: {row}"
        for path, name in named:
            assert re.search(rf"^(async )?def {name}\(", (root / "tests" / path).read_text(), re.M), (path, name)
