"""Clients that take their time, or come in numbers: each is bounded, and the gateway lives on."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.listening import ListeningLimits, limits_with_files
from tests.fakes.engine import COMPLETION, Conversation, FakeVllm, hangs, waits_for
from tests.fakes.engine import answers as answers_with
from tests.http.gateways import until
from tests.http.listeners import ListeningGateway, Raw, head, listening_gateway, raw_client, request

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": []}
BODY = json.dumps(ASK).encode()
LENGTH = b"content-length: %d" % len(BODY)
LIMITS = ListeningLimits()


@pytest.fixture
async def gateway(engine: FakeVllm) -> AsyncIterator[ListeningGateway]:
    async with listening_gateway(engine) as gateway:
        yield gateway


async def lives_on(gateway: ListeningGateway) -> None:
    assert (await gateway.post(CHAT, ASK)).json() == COMPLETION
    await gateway.is_calm_again()


def later(gateway: ListeningGateway, seconds: float) -> None:
    """What the gateway would do then. After that it is now again."""
    now = asyncio.get_running_loop().time()
    gateway.listening.sweep(now + seconds)
    gateway.listening.now = now


async def ends_within(gateway: ListeningGateway, client: Raw, seconds: float) -> bytes:
    """All that it answers until it closes, that many seconds from now."""
    reading = asyncio.create_task(client.rest())

    def is_over() -> bool:
        later(gateway, seconds)
        return reading.done()

    await until(is_over)
    return await reading


# --- too slow -------------------------------------------------------------------------------------------------------


async def test_a_head_that_does_not_end(gateway: ListeningGateway) -> None:
    async with raw_client(gateway, head(CHAT, LENGTH)[:20]) as client, raw_client(gateway, b"P") as other:
        later(gateway, LIMITS.head_s - 1)
        answer = await ends_within(gateway, client, LIMITS.head_s + 1)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert (await ends_within(gateway, other, LIMITS.head_s + 1)).startswith(b"HTTP/1.1 408 ")
    await lives_on(gateway)


async def test_a_head_that_takes_its_time_but_comes(gateway: ListeningGateway) -> None:
    sent = request(BODY)
    async with raw_client(gateway) as client:
        for place in range(0, len(sent), 10):
            await client.send(sent[place : place + 10])
            later(gateway, LIMITS.head_s - 5)
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("sent", [b"", b"{"])
async def test_a_body_that_is_announced_and_not_sent(engine: FakeVllm, gateway: ListeningGateway, sent: bytes) -> None:
    async with raw_client(gateway, head(CHAT, b"content-length: 1000") + sent) as client:
        later(gateway, LIMITS.body_silence_s - 1)
        answer = await ends_within(gateway, client, LIMITS.body_silence_s + 1)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert engine.calls == []
    await lives_on(gateway)


async def test_a_body_that_comes_byte_by_byte_for_ever(gateway: ListeningGateway) -> None:
    async with raw_client(gateway, head(CHAT, b"content-length: 1000"), b"{") as client:
        await until(lambda: gateway.listening.num_incoming_bytes > 0)
        trickling = asyncio.create_task(_trickle(client))
        answer = await ends_within(gateway, client, LIMITS.body_s + 1)
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    assert answer.startswith(b"HTTP/1.1 408 ")
    await lives_on(gateway)


async def _trickle(client: Raw) -> None:
    for _ in range(500):
        await client.send(b" ")
        await asyncio.sleep(0)


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", request(BODY)])
async def test_a_connection_without_a_request(gateway: ListeningGateway, sent: bytes) -> None:
    async with raw_client(gateway, sent) as client:
        if len(sent) > 4:
            await client.answer()
        later(gateway, LIMITS.idle_s - 5)
        assert await ends_within(gateway, client, LIMITS.idle_s + 1) == b""


async def test_a_call_may_take_as_long_as_its_engine(engine: FakeVllm, gateway: ListeningGateway) -> None:
    gate = asyncio.Event()
    engine.on_call = waits_for(gate, answers_with(COMPLETION))
    async with raw_client(gateway, request(BODY)) as client:
        await engine.call_arrived()
        for hours in range(1, 5):
            later(gateway, hours * 3600)
        gate.set()
        assert (await client.answer())[0] == 200


async def test_a_client_that_does_not_read(engine: FakeVllm, gateway: ListeningGateway) -> None:
    """Its engine is read no further; after a minute the call is over."""
    num_taken = 0

    async def for_ever(conversation: Conversation) -> None:
        nonlocal num_taken
        await conversation.begin_stream()
        while not conversation.request.hung_up.is_set():
            await conversation.chunk(b"data: " + b"x" * 65_536 + b"\n\n")
            num_taken += 65_536

    engine.on_call = for_ever
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
    await loop.sock_sendall(sock, request(json.dumps(ASK | {"stream": True}).encode()))
    received = await engine.call_arrived()

    before = -1
    while before != num_taken:  # until nothing moves any more
        before = num_taken
        for _ in range(200):
            await asyncio.sleep(0.001)
    assert num_taken < 16 * 2**20  # four sockets' buffers, and what the gateway keeps
    later(gateway, 1)
    later(gateway, LIMITS.untaken_s - 1)
    assert not received.hung_up.is_set()
    later(gateway, LIMITS.untaken_s + 5)
    async with asyncio.timeout(5):
        await received.hung_up.wait()
    sock.close()
    engine.on_call = answers_with(COMPLETION)
    await lives_on(gateway)


async def test_a_refused_client_that_goes_on_sending_is_cut_off(gateway: ListeningGateway) -> None:
    async with raw_client(gateway, b"no HTTP\r\n\r\n") as client:
        assert (await client.answer())[0] == 400
        await client.send(b"x" * 10_000)
        later(gateway, 3)
        await client.rest()
        with pytest.raises(ConnectionError):
            await client.send(*[b"x" * 10_000] * 1000)
    await lives_on(gateway)


# --- too many -------------------------------------------------------------------------------------------------------


async def test_a_flood_of_connections_is_served(engine: FakeVllm, gateway: ListeningGateway) -> None:
    async def one() -> int:
        async with raw_client(gateway, request(BODY)) as client:
            async with asyncio.timeout(30):
                return (await client.answer())[0]

    statuses = await asyncio.gather(*(one() for _ in range(300)))
    assert statuses == [200] * 300
    await gateway.is_calm_again()


async def test_who_has_no_call_makes_room(engine: FakeVllm) -> None:
    """The longest idle goes first, and nobody whose call is in work."""
    engine.on_call = hangs
    async with listening_gateway(engine, ListeningLimits(max_connections=4)) as gateway:
        await gateway.client.aclose()
        async with raw_client(gateway, request(BODY)) as busy, raw_client(gateway, b"POST ") as slow:
            await engine.call_arrived()
            async with raw_client(gateway) as idle, raw_client(gateway) as young:
                await idle.send(head("/healthz", method="GET"))
                await idle.answer()  # it was idle before; it is the youngest now
                async with raw_client(gateway, head("/healthz", method="GET")) as newcomer:
                    assert (await newcomer.answer())[0] == 200
                    assert (await slow.answer())[0] == 503
                async with raw_client(gateway), raw_client(gateway):
                    assert (await young.rest()).startswith(b"HTTP/1.1 503 ")
            assert not engine.calls[0].hung_up.is_set()
            busy.writer.close()


async def test_when_all_are_at_work_the_newcomer_is_refused(engine: FakeVllm) -> None:
    engine.on_call = hangs
    async with listening_gateway(engine, ListeningLimits(max_connections=2)) as gateway:
        await gateway.client.aclose()
        async with raw_client(gateway, request(BODY)), raw_client(gateway, request(BODY)):
            await engine.call_arrived(2)
            async with raw_client(gateway) as newcomer:
                assert (await newcomer.rest()).startswith(b"HTTP/1.1 503 ")
            assert not any(call.hung_up.is_set() for call in engine.calls)


def test_there_are_files_for_all_connections() -> None:
    limits = limits_with_files(ListeningLimits(max_connections=10**9))
    assert 16 <= limits.max_connections <= 32_768


async def test_requests_sent_at_once_are_answered_in_order(engine: FakeVllm, gateway: ListeningGateway) -> None:
    async with raw_client(gateway, *[request(BODY, path=f"/apps/a{i}{CHAT}") for i in range(5)]) as client:
        names = [(await client.answer())[1]["x-justitia-application"] for _ in range(5)]
    assert names == [f"a{i}" for i in range(5)]


async def test_requests_sent_at_once_are_bounded(engine: FakeVllm, gateway: ListeningGateway) -> None:
    engine.on_call = hangs
    async with raw_client(gateway, request(BODY) * 5000) as client:
        await client.rest()
    await gateway.is_calm_again()
    assert len(engine.calls) <= 1


async def test_a_client_that_sends_ahead_and_leaves_frees_its_engine(
    engine: FakeVllm, gateway: ListeningGateway
) -> None:
    engine.on_call = hangs
    async with raw_client(gateway, request(BODY) * 3):
        received = await engine.call_arrived()
    async with asyncio.timeout(5):
        await received.hung_up.wait()
    await gateway.is_calm_again()


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"x" * 1000])
async def test_an_upgrade_is_not_made_and_does_not_fill_the_log(
    engine: FakeVllm, gateway: ListeningGateway, caplog: pytest.LogCaptureFixture, protocol: bytes
) -> None:
    caplog.set_level(logging.WARNING)
    upgrade = (b"connection: upgrade", b"upgrade: " + protocol, b"sec-websocket-version: 13")
    key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    async with raw_client(gateway, head("/healthz", *upgrade, key, method="GET")) as client:
        assert (await client.answer())[0] == 200
    for _ in range(20):
        async with raw_client(gateway, b"no HTTP\r\n\r\n") as client:
            await client.rest()
    assert caplog.records == []
    await lives_on(gateway)
