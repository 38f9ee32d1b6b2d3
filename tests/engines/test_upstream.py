"""What we send, and how long we wait."""

import asyncio
import hashlib

import pytest

from gateway.engines.connection import MAX_KEPT_BYTES, PIECE_BYTES
from gateway.engines.origin import Origin
from gateway.engines.response import UpstreamResponse
from gateway.engines.upstream import Upstream
from gateway.errors import EngineTimeout, InvalidRequest, RequestUnsent
from tests.engines.raw_engine import Peer, RawEngine, Talk, answering, endless, then_waits
from tests.engines.worlds import CHUNKED, LARGE, OK, world

# --- what we send ---------------------------------------------------------------------------------------------------


async def test_a_large_body_arrives() -> None:
    async def talk(peer: Peer) -> None:
        while True:
            digest = hashlib.sha256((await peer.request()).body).hexdigest().encode()
            await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n" + digest)

    async with world(talk) as w:
        for _ in range(2):
            assert (await w.call(LARGE))[1] == hashlib.sha256(LARGE).hexdigest().encode()
        assert len(w.engine.peers) == 1


async def test_a_large_body_is_handed_over_as_the_engine_takes_it() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        begun.set()
        await gate.wait()
        await peer.until_hung_up()

    begun, gate = asyncio.Event(), asyncio.Event()
    async with world(talk) as w:
        calling = asyncio.create_task(w.call(LARGE))
        await begun.wait()
        (connection,) = w.upstream._pool._open
        assert 0 < connection._transport.get_write_buffer_size() <= PIECE_BYTES + 2**16
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        gate.set()


async def test_an_answer_that_comes_before_the_request_is_read() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
        await gate.wait()
        await peer.until_hung_up()

    gate = asyncio.Event()
    async with world(talk) as w:
        assert await w.call(LARGE) == (413, b"large")
        assert await w.call(LARGE) == (413, b"large")
        assert len(w.engine.peers) == 2
        gate.set()


async def test_a_request_goes_on_though_its_answer_has_begun() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.write(CHUNKED, b"1\r\n.\r\n")
        await peer.reader.readexactly(len(LARGE))
        await peer.write(b"3\r\nall\r\n0\r\n\r\n")

    async with world(talk) as w:
        assert await w.call(LARGE) == (200, b".all")


async def test_an_engine_that_does_not_read_is_silent() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with world(talk, silence_timeout_s=0.1) as w:
        with pytest.raises(EngineTimeout, match="silent"):
            await w.call(LARGE)


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("POST", b"/", (b"x", b"a\r\ncontent-length: 0")),
        ("POST", b"/", (b"x", b"a\nb")),
        ("POST", b"/", (b"x", b"a\rb")),
        ("POST", b"/", (b"x", b"a\0b")),
        ("POST", b"/", (b"x\r\ny", b"a")),
        ("POST", b"/", (b"x: y\r\nz", b"a")),
        ("POST", b"/", (b"x:", b"a")),
        ("POST", b"/", (b"x y", b"a")),
        ("POST", b"/", (b"X", b"upper case")),
        ("POST", b"/", (b"", b"a")),
        ("POST", b"/", (b"content-length", b"0")),
        ("POST", b"/", (b"transfer-encoding", b"chunked")),
        ("POST", b"/", (b"host", b"elsewhere")),
        ("POST", b"/", (b"connection", b"close")),
        ("POST", b"/", (b"upgrade", b"h2c")),
        ("POST", b"/ HTTP/1.1\r\nx: y", (b"x", b"a")),
        ("POST", b"/a b", (b"x", b"a")),
        ("POST", b"/a\tb", (b"x", b"a")),
        ("POST", b"", (b"x", b"a")),
        ("POST", "/ä".encode(), (b"x", b"a")),
        ("", b"a b", (b"x", b"a")),
        ("GET / HTTP/1.1\r\n\r\nPOST", b"/", (b"x", b"a")),
    ],
)
async def test_what_could_be_read_as_more_is_not_sent(method: str, target: bytes, header: tuple[bytes, bytes]) -> None:
    async with world(answering(OK)) as w:
        with pytest.raises(InvalidRequest):
            await w.upstream.send(method, target, [(b"a", b"b"), header], b"ask")
        assert w.engine.peers == []


# --- slow readers, silence, cancellation ----------------------------------------------------------------------------


async def test_a_slow_reader_slows_the_engine_down_and_loses_nothing() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LARGE))
        peer.writer.write(LARGE)
        await peer.writer.drain()
        sent.set()
        await peer.until_hung_up()

    sent = asyncio.Event()
    async with world(talk, silence_timeout_s=0.1) as w:
        response = await w.send()
        paused = asyncio.Event()
        asyncio.get_running_loop().call_later(0.4, paused.set)  # longer than an engine may be silent
        await paused.wait()
        assert MAX_KEPT_BYTES < response.num_kept <= 2 * MAX_KEPT_BYTES
        assert not sent.is_set()
        assert await response.read(2**26) == LARGE


async def collect(response: UpstreamResponse, received: bytearray) -> None:
    async for chunk in response.chunks():
        received += chunk


async def test_what_drips_is_not_silent_and_what_stops_dripping_is() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED)
        for _ in range(10):
            await peer.write(b"1\r\nx\r\n")
            tick = asyncio.Event()
            asyncio.get_running_loop().call_later(0.05, tick.set)
            await tick.wait()
        await peer.until_hung_up()

    async with world(talk, silence_timeout_s=0.2) as w:
        response = await w.send()
        received = bytearray()
        with pytest.raises(EngineTimeout, match="silent"):
            await collect(response, received)
        assert received == b"x" * 10
        await w.engine.peers[0].hung_up.wait()


async def test_an_idle_connection_is_not_silent_and_is_watched_again_when_used() -> None:
    async def talk(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.write(OK)
        await peer.until_hung_up()

    async with world(talk, silence_timeout_s=0.05) as w:
        await w.call()
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(0.15, later.set)
        await later.wait()
        assert await w.call() == (200, b"hello")
        with pytest.raises(EngineTimeout):
            await w.call()
        assert len(w.engine.peers) == 1


async def test_a_connection_that_is_not_made_in_time() -> None:
    async with RawEngine(Peer.until_hung_up) as engine:  # it never says hello
        upstream = Upstream(Origin.of(engine.url.replace("http:", "https:")), 0.1, 5.0)
        with pytest.raises(RequestUnsent, match="no connection in time"):
            await upstream.send("GET", b"/", [], b"")
        await (await engine.peer()).hung_up.wait()
        await upstream.aclose()


async def test_cancelled_while_it_connects() -> None:
    async with RawEngine(Peer.until_hung_up) as engine:
        upstream = Upstream(Origin.of(engine.url.replace("http:", "https:")), 5.0, 5.0)
        sending = asyncio.create_task(upstream.send("GET", b"/", [], b""))
        peer = await engine.peer()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await peer.hung_up.wait()
        await upstream.aclose()


@pytest.mark.parametrize(
    "talk",
    [then_waits(), then_waits(OK[:-1]), then_waits(CHUNKED), endless(CHUNKED, b"1\r\nx\r\n")],
    ids=["before the answer", "within a body", "before a stream's first event", "within a stream"],
)
async def test_cancelled_while_it_waits(talk: Talk) -> None:
    async with world(talk) as w:
        calling = asyncio.create_task(w.call())
        peer = await w.engine.peer()
        for _ in range(20):
            await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await peer.hung_up.wait()


async def test_cancelled_while_it_sends() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        begun.set()
        await gate.wait()
        await peer.until_hung_up()

    begun, gate = asyncio.Event(), asyncio.Event()
    async with world(talk) as w:
        calling = asyncio.create_task(w.call(LARGE))
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        gate.set()
        await w.engine.peers[0].hung_up.wait()


async def test_a_chunk_given_up_hangs_up_without_being_closed() -> None:
    async with world(then_waits(CHUNKED)) as w:
        response = await w.send()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(response.chunks())
        await w.engine.peers[0].hung_up.wait()
