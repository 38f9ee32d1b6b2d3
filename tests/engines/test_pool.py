"""Which connection a call goes by, and what becomes of it."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.engines import pool
from gateway.engines.origin import Origin
from gateway.engines.upstream import Upstream
from gateway.errors import EngineUnreachable, RequestUnsent
from tests.engines.raw_engine import Peer, RawEngine, answering, then_waits
from tests.engines.worlds import OK, world
from tests.fakes.garbage import garbage


@pytest.mark.parametrize("excess", [b"x", OK.replace(b"hello", b"wrong"), b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_bytes_after_an_answer_are_nobodys(excess: bytes) -> None:
    async with world(answering(OK + excess)) as w:
        for _ in range(2):
            assert await w.call() == (200, b"hello")
        assert len(w.engine.peers) == 2


@pytest.mark.parametrize("runs_between", [False, True])
@pytest.mark.parametrize("unasked", [lambda peer: peer.write_now(OK.replace(b"hello", b"wrong")), Peer.end_now])
async def test_an_idle_connection_that_stirs_is_not_used(
    monkeypatch: pytest.MonkeyPatch, unasked: Callable[[Peer], None], runs_between: bool
) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_S", 60.0)
    async with world(answering(OK)) as w:
        await w.call()
        unasked(w.engine.peers[0])
        if runs_between:
            await w.engine.peers[0].hung_up.wait()
        assert await w.call() == (200, b"hello")
        assert [request.peer for request in w.engine.requests] == w.engine.peers[:2]


async def test_a_request_that_may_have_been_read_is_not_sent_again() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()  # and closes

    async with world(talk) as w:
        await w.call()
        with pytest.raises(EngineUnreachable) as raised:
            await w.call()
        assert not isinstance(raised.value, RequestUnsent)
        assert len(w.engine.requests) == 2


async def test_the_connection_used_last_is_used_next() -> None:
    both = asyncio.Barrier(2)

    async def talk(peer: Peer) -> None:
        await peer.request()
        await both.wait()
        await peer.write(OK)
        await answering(OK)(peer)

    async with world(talk) as w:
        await asyncio.gather(w.call(), w.call())
        for _ in range(5):
            await w.call()
        assert len({request.peer for request in w.engine.requests[2:]}) == 1
        assert len(w.engine.peers) == 2


async def test_an_idle_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_S", 0.05)
    async with world(answering(OK)) as w:
        await asyncio.gather(w.call(), w.call())
        for peer in w.engine.peers:
            await peer.hung_up.wait()


async def test_an_expired_connection_is_not_used_though_its_timer_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(answering(OK)) as w:
        await w.call()
        monkeypatch.setattr(pool, "KEEP_ALIVE_S", 0.0)
        await w.call()
        assert len(w.engine.peers) == 2


async def test_an_unread_answer_is_hung_up_on_and_a_complete_one_is_not() -> None:
    async with world(answering(OK)) as w:
        await (await w.send()).aclose()  # all of it is here, read or not
        await w.call()
        assert len(w.engine.peers) == 1

    async with world(then_waits(OK[:-1])) as w:
        response = await w.send()
        await response.aclose()
        await response.aclose()
        await w.engine.peers[0].hung_up.wait()
        with pytest.raises(EngineUnreachable):
            await response.read(100)


async def test_closing_hangs_up_on_every_call() -> None:
    async with world(then_waits(b"HTTP/1.1 200 OK\r\n\r\nhello")) as w:
        calls = [asyncio.create_task(w.call()) for _ in range(3)]
        await w.engine.peer(3)
        await w.upstream.aclose()
        for failed in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failed, EngineUnreachable)  # not: a body that closing has ended
        with pytest.raises(RequestUnsent):
            await w.call()


async def test_a_connection_leaves_nothing_to_the_collector() -> None:
    async with world(answering(OK.replace(b"content", b"connection: close\r\ncontent"))) as w:
        with garbage() as left:
            await w.call()
            await w.engine.peers[0].hung_up.wait()
            await asyncio.sleep(0.01)
    assert not left


async def test_nor_does_one_that_is_refused() -> None:
    async with RawEngine(answering(OK)) as engine:
        upstream = Upstream(Origin.of(engine.url), 5.0, 5.0)
    with garbage() as left:
        for _ in range(3):
            with pytest.raises(RequestUnsent):
                await upstream.send("GET", b"/", [], b"")
    await upstream.aclose()
    assert not left
