"""Answers, right and wrong, to one of our connections."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from gateway.engines.connection import MAX_HEAD_BYTES
from gateway.errors import EngineUnreachable, RequestUnsent
from tests.engines.raw_engine import Peer, Talk, answering, endless, then_waits
from tests.engines.worlds import CHUNKED, OK, world

# --- answers as they should be --------------------------------------------------------------------------------------

ANSWERS = {
    "length": (OK, 200, b"hello"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nno", 404, b"no"),
    "chunked": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, b"hello"),
    "trailers and extensions": (CHUNKED + b"5;a=b\r\nhello\r\n0\r\nx-late: 1\r\n\r\n", 200, b"hello"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", 304, b""),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK, 200, b"hello"),
    "upgrade offered": (OK.replace(b"\r\n\r\n", b"\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), 200, b"hello"),
}
ENDED_BY_CLOSING = {
    "no length": (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
    "HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello"),
    "said so": (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello"),
    "nothing at all": (b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
}


@pytest.mark.parametrize("cut", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_and_the_next_on_the_same_connection(name: str, cut: bool) -> None:
    answer, status, body = ANSWERS[name]
    pieces = [answer[n : n + 1] for n in range(len(answer))] if cut else [answer]
    async with world(answering(*pieces)) as w:
        for _ in range(3):
            assert await w.call() == (status, body)
        assert len(w.engine.peers) == 1


@pytest.mark.parametrize("name", ENDED_BY_CLOSING)
async def test_an_answer_that_ends_its_connection(name: str) -> None:
    answer, status, body = ENDED_BY_CLOSING[name]
    async with world(answering(answer, closes=True)) as w:
        assert await w.call() == (status, body)
        assert await w.call() == (status, body)
        assert len(w.engine.peers) == 2


async def test_an_answer_to_head_has_no_body() -> None:
    async with world(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")) as w:
        assert await w.call(b"", "HEAD") == (200, b"")
        assert await w.call(b"", "HEAD") == (200, b"")
        assert b"content-length" not in w.engine.requests[0].head


async def test_headers_are_as_sent_and_without_those_of_others() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nx-early: 1\r\n\r\n"
    late = CHUNKED.replace(b"\r\n\r\n", b"\r\nX-Kept: a  b \r\n\r\n") + b"0\r\nx-late: 1\r\n\r\n"
    async with world(answering(early + late)) as w:
        response = await w.send()
        assert response.headers == [(b"transfer-encoding", b"chunked"), (b"X-Kept", b"a  b ")]
        assert await response.read(0) == b""


async def test_the_request_is_what_was_asked() -> None:
    async with world(answering(OK)) as w:
        await w.call()
        request = w.engine.requests[0]
        host = w.engine.url.removeprefix("http://").encode()
        assert request.head == (
            b"POST /v1/completions HTTP/1.1\r\nhost: %b\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\n" % host
        )
        assert request.body == b"ask"


@types.coroutine
def counting(coroutine: Coroutine[Any, Any, Any], count: list[object]) -> Generator[Any, Any, Any]:
    while True:
        try:
            awaited = coroutine.send(None)
        except StopIteration as end:
            return end.value
        count.append(awaited)
        yield awaited


@pytest.mark.parametrize(
    "pieces", [[OK], [OK[:-5], OK[-5:]], [OK[:9], OK[9:-5], OK[-5:]]], ids=["one", "head and body", "three"]
)
async def test_a_short_answer_wakes_its_task_once(pieces: list[bytes]) -> None:
    async with world(answering(*pieces)) as w:
        await w.call()
        waits: list[object] = []
        assert await counting(w.call(), waits) == (200, b"hello")
        assert len(waits) == 1


async def test_a_stream_begins_before_its_first_event() -> None:
    async with world(then_waits(CHUNKED)) as w:
        response = await w.send()
        assert response.status == 200
        await response.aclose()


# --- answers as they should not be ----------------------------------------------------------------------------------

MANY_HEADERS = b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 3000 + b"content-length: 0\r\n\r\n"
LONG_HEADER = b"HTTP/1.1 200 OK\r\nx: %b\r\ncontent-length: 0\r\n\r\n" % (b"x" * MAX_HEAD_BYTES)
BROKEN = {
    "no HTTP": b"this is not HTTP\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x00\x05",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "status of six hundred": b"HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n",
    "status below a hundred": b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "a length and chunks": CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\n") + b"0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
    "a length beyond numbers": b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    "a chunk of no length": CHUNKED + b"hello\r\n",
    "a chunk longer than said": CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
    "a chunk beyond numbers": CHUNKED + b"fffffffffffffffffff\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "a bare carriage return": b"HTTP/1.1 200 OK\r\nx: a\rb: c\r\ncontent-length: 0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "a nul": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
    "many headers": MANY_HEADERS,
    "a long header": LONG_HEADER,
    "trailers without measure": CHUNKED + b"0\r\n" + b"a:\r\n" * 3000 + b"\r\n",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_a_malformed_answer_is_an_error_and_the_end_of_its_connection(answer: bytes) -> None:
    async with world(then_waits(answer)) as w:
        with pytest.raises(EngineUnreachable, match="broke off") as raised:
            await w.call()
        assert not isinstance(raised.value, RequestUnsent)
        await (await w.engine.peer()).hung_up.wait()


async def test_an_engine_that_changes_the_protocol_is_told_of() -> None:
    async with world(then_waits(BROKEN["an upgrade"])) as w:
        with pytest.raises(EngineUnreachable, match="status 101"):
            await w.call()


ENDLESS = {
    "status line": endless(b"HTTP/1.1 200 ", b"x" * 1000),
    "header name": endless(b"HTTP/1.1 200 OK\r\n", b"x" * 1000),
    "header value": endless(b"HTTP/1.1 200 OK\r\nx: ", b"x" * 1000),
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 100),
    "interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "interim headers": endless(b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 50),
    "trailer": endless(CHUNKED + b"0\r\nx: ", b"x" * 1000),
    "trailers": endless(CHUNKED + b"5\r\nhello\r\n0\r\n", b"x: y\r\n" * 100),
    "chunk extension": endless(CHUNKED + b"5;", b"x" * 1000),
}


@pytest.mark.parametrize("talk", ENDLESS.values(), ids=ENDLESS)
async def test_what_never_ends_is_ended(talk: Talk) -> None:
    async with world(talk) as w:
        with pytest.raises(EngineUnreachable, match="broke off"):
            await w.call()


async def test_a_long_stream_of_small_chunks_is_no_excess() -> None:
    """More framing than body, and more of it than any head may have."""
    framing = b"1;" + b"e" * 100 + b"\r\n"
    async with world(answering(CHUNKED, *([framing, b"x\r\n"] * 1000), b"0\r\n\r\n")) as w:
        assert await w.call() == (200, b"x" * 1000)


CUT_OFF = {
    "nothing": b"",
    "within the status": b"HTTP/1.",
    "within the headers": OK[:-9],
    "within a length": OK[:-1],
    "within chunks": CHUNKED + b"5\r\nhello\r\n",
    "within trailers": CHUNKED + b"0\r\nx-late: 1\r\n",
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "an unknown transfer encoding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
}


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("answer", CUT_OFF.values(), ids=CUT_OFF)
async def test_an_answer_cut_off_never_looks_complete(answer: bytes, resets: bool) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer)
        if resets:
            peer.reset()

    async with world(talk) as w:
        with pytest.raises(EngineUnreachable, match="broke off"):
            await w.call()


async def test_a_body_that_only_closing_ends_must_not_end_in_a_reset() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await began.wait()
        peer.reset()

    began = asyncio.Event()
    async with world(talk) as w:
        response = await w.send()
        chunks = response.chunks()
        assert await anext(chunks) == b"hello"
        began.set()
        with pytest.raises(EngineUnreachable, match="broke off"):
            await anext(chunks)


async def test_what_arrived_before_the_failure_comes_first() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED + b"5\r\nhello\r\n")
        await began.wait()
        await peer.write(b"6\r\n world\r\n", b"broken")
        await peer.until_hung_up()
        broken.set()

    began, broken = asyncio.Event(), asyncio.Event()
    async with world(talk) as w:
        chunks = (await w.send()).chunks()
        began.set()
        await broken.wait()
        assert await anext(chunks) == b"hello world"
        for _ in range(2):
            with pytest.raises(EngineUnreachable, match="broke off"):
                await anext(chunks)


async def test_a_body_longer_than_wanted_is_not_kept() -> None:
    async with world(answering(OK)) as w:
        response = await w.send()
        with pytest.raises(EngineUnreachable, match="more than 4 bytes"):
            await response.read(4)
