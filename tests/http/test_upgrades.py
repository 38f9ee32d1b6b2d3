"""Clients that would rather speak another protocol: they are served in this one, as if they had not said so."""

import json
from collections.abc import AsyncIterator

import pytest

from gateway.listening import ListeningLimits
from tests.fakes.engine import COMPLETION, FakeVllm
from tests.http.listeners import ListeningGateway, head, listening_gateway, raw_client, request

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "wörd " * 20}]}).encode()
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])

AS_CURL = b"\r\n".join(
    [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: 127.0.0.1:8000\r\nUser-Agent: curl/7.88.1\r\nAccept: */*",
        *H2C,
        LENGTH,
        b"Content-Type: application/json\r\n\r\n",
    ]
)
AS_JAVA = b"\r\n".join(
    [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Connection: Upgrade, HTTP2-Settings",
        LENGTH,
        b"Host: 127.0.0.1:8000",
        b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
        b"Upgrade: h2c\r\nUser-Agent: Java-http-client/17.0.15\r\ncontent-type: application/json\r\n\r\n",
    ]
)


@pytest.fixture
async def gateway(engine: FakeVllm) -> AsyncIterator[ListeningGateway]:
    async with listening_gateway(engine) as gateway:
        yield gateway


def by_bytes(message: bytes) -> list[bytes]:
    return [message[i : i + 1] for i in range(len(message))]


@pytest.mark.parametrize("sent_head", [AS_CURL, AS_JAVA], ids=["curl --http2", "Java's HttpClient"])
async def test_calls_with_a_wish_for_h2c_are_calls(
    engine: FakeVllm, gateway: ListeningGateway, sent_head: bytes
) -> None:
    """Java wishes it anew with every request of a connection, so that stays open."""
    async with raw_client(gateway) as client:
        for parts in ([sent_head + BODY], [sent_head, BODY], [sent_head[:-3], sent_head[-3:] + BODY[:5], BODY[5:]]):
            await client.send(*parts)
            status, headers, body = await client.answer()
            assert (status, json.loads(body)) == (200, COMPLETION)
            assert headers.get("connection") != "close"
    assert [call.body for call in engine.calls] == [BODY] * 3
    for call in engine.calls:
        assert {name for name, _ in call.headers} & {"upgrade", "http2-settings", "connection"} <= {"connection"}


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_it_may_come_in_any_pieces(engine: FakeVllm, gateway: ListeningGateway, framing: str) -> None:
    chunked = head(CHAT, b"transfer-encoding: chunked", *H2C) + CHUNKED
    message = chunked if framing == "chunked" else request(BODY, *H2C)
    async with raw_client(gateway, *by_bytes(message)) as client:
        assert (await client.answer())[0] == 200
        await client.send(message + message)
        assert [(await client.answer())[0] for _ in range(2)] == [200, 200]
    assert [call.body for call in engine.calls] == [BODY] * 3


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0, HTTP/2.0", b"x" * 1000, b""])
async def test_whatever_they_wish_for(engine: FakeVllm, gateway: ListeningGateway, protocol: bytes) -> None:
    wish = (b"connection: keep-alive, Upgrade", b"upgrade: " + protocol)
    plain = head("/healthz", method="GET")
    async with raw_client(gateway, head("/healthz", *wish, method="GET") + plain, request(BODY, *wish)) as client:
        answers = [await client.answer() for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert [call.body for call in engine.calls] == [BODY]


async def test_one_that_waits_to_be_told_to_go_on(engine: FakeVllm, gateway: ListeningGateway) -> None:
    """As curl with a large body."""
    async with raw_client(gateway, head(CHAT, LENGTH, b"Expect: 100-continue", *H2C)) as client:
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.send(BODY)
        assert (await client.answer())[0] == 200
    assert [call.body for call in engine.calls] == [BODY]


async def test_http_1_0_may_wish_too(engine: FakeVllm, gateway: ListeningGateway) -> None:
    async with raw_client(gateway, head(CHAT, LENGTH, *H2C, version="1.0") + BODY) as client:
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")
    assert [call.body for call in engine.calls] == [BODY]


async def test_limits_hold_for_them_as_for_others(engine: FakeVllm) -> None:
    async with listening_gateway(engine, ListeningLimits(max_headers=10, max_head_bytes=2000)) as gateway:
        async with raw_client(gateway, request(BODY, *H2C, *[b"a: b"] * 10)) as client:
            assert (await client.answer())[0] == 431
        async with raw_client(gateway, request(BODY, *H2C, b"a: " + b"b" * 2000)) as client:
            assert (await client.answer())[0] == 431
        async with raw_client(gateway, head(CHAT, b"content-length: 1", *H2C, version="2.0")) as client:
            assert (await client.answer())[0] == 505
        flawed = head(CHAT, LENGTH, b"transfer-encoding: chunked", *H2C)
        async with raw_client(gateway, flawed + CHUNKED) as client:  # two lengths: whose body is it?
            assert (await client.answer())[0] == 400
        await gateway.is_calm_again()
    assert engine.calls == []


async def test_a_tunnel_is_refused_and_what_follows_is_not_read(engine: FakeVllm, gateway: ListeningGateway) -> None:
    async with raw_client(gateway, b"CONNECT host:1 HTTP/1.1\r\nhost: x\r\n\r\n" + request(BODY)) as client:
        answers = await client.rest()
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"connection: close") == 1
    assert engine.calls == []
    await gateway.is_calm_again()
