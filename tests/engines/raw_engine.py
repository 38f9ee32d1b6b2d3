"""A server that writes whatever a test says, right or wrong, and tells which connection each request came by.

async with RawEngine(answering(b"HTTP/1.1 200 OK\\r\\n…")) as engine:
    …
    assert engine.requests[0].peer is engine.requests[1].peer     # one connection
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    peer: "Peer"
    head: bytes
    body: bytes


class Peer:
    """One connection, from the engine's side."""

    def __init__(self, engine: "RawEngine", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.engine = engine
        self.reader = reader
        self.writer = writer
        self.hung_up = asyncio.Event()

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Request:
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        request = Request(self, head, await self.reader.readexactly(length))
        self.engine.requests.append(request)
        self.engine.arrived.set()
        return request

    async def write(self, *pieces: bytes) -> None:
        """Each in a write of its own, the loop running in between."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def until_hung_up(self) -> None:
        while await self.reader.read(2**16):
            pass

    # At once, before the loop runs again: so the client's loop cannot have noticed.

    def write_now(self, data: bytes) -> None:
        os.write(self._fileno, data)

    def end_now(self) -> None:
        with socket.socket(fileno=os.dup(self._fileno)) as twin:
            twin.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.writer.transport.abort()

    @property
    def _fileno(self) -> int:
        fileno: int = self.writer.get_extra_info("socket").fileno()
        return fileno


Talk = Callable[[Peer], Awaitable[None]]


class RawEngine:
    def __init__(self, talk: Talk, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.talk = talk
        self.peers: list[Peer] = []
        self.requests: list[Request] = []
        self.arrived = asyncio.Event()
        self._host = host
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "RawEngine":
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls, limit=2**20)
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def peer(self, number: int = 1) -> Peer:
        """The n-th connection, as soon as it is here."""
        while len(self.peers) < number:
            self.arrived.clear()
            await self.arrived.wait()
        return self.peers[number - 1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(self, reader, writer)
        self.peers.append(peer)
        self.arrived.set()
        try:
            await self.talk(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client, or the test, has gone
        finally:
            peer.hung_up.set()
            writer.transport.abort() if self._tls else writer.close()
            self._tasks.discard(task)


def answering(*pieces: bytes, closes: bool = False) -> Talk:
    """The same to every request of a connection."""

    async def talk(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.write(*pieces)
            if closes:
                return

    return talk


def then_waits(*pieces: bytes) -> Talk:
    """Answers once, and no more until the client hangs up."""

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(*pieces)
        await peer.until_hung_up()

    return talk


def endless(before: bytes, piece: bytes) -> Talk:
    """Until the client has had enough."""

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(before)
        while True:
            await peer.write(piece)

    return talk
