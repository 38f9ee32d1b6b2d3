"""Connections to one engine: the idle ones are kept a moment, the number of those in use is the scheduler's affair."""

import asyncio
import ssl

from gateway.engines.connection import Connection
from gateway.engines.origin import Origin
from gateway.errors import RequestUnsent

KEEP_ALIVE_S = 2.0
"""Idle connections are given up before the engine does it (vLLM: 5 s), so that no call is sent down a connection that
the engine is closing: whether it was read there nobody could tell, and it must not be sent twice."""


class Pool:
    """The one used last is used next, so that those too many are left alone and expire. Kept in that order the oldest
    lie in front, and one timer for the first of them serves all; a request looks at no other than the last."""

    def __init__(self, origin: Origin, connect_timeout_s: float, silence_timeout_s: float) -> None:
        self._origin = origin
        self._connect_timeout_s = connect_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._ssl = _ssl_context() if origin.is_tls else None
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._expiry: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._emptied = asyncio.Event()

    def idle(self) -> Connection | None:
        """One that can be written to now. One that has ended meanwhile is passed over: nothing was sent into it."""
        expired_at = asyncio.get_running_loop().time() - KEEP_ALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > expired_at and connection.is_quiet():
                return connection
            connection.hang_up()
        return None

    async def open(self) -> Connection:
        """A new one. Raises RequestUnsent."""
        loop = asyncio.get_running_loop()
        name = self._origin.name
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(
                    self._connection, self._origin.host, self._origin.port, ssl=self._ssl
                )
        except TimeoutError as error:
            raise RequestUnsent(f"engine {name} cannot be reached: no connection in time") from error
        except OSError as error:
            raise RequestUnsent(f"engine {name} cannot be reached: {error}") from error
        if self._is_closed:
            connection.hang_up()
            raise RequestUnsent(f"engine {name}: the gateway is closing its connections")
        if not connection.is_open():
            raise RequestUnsent(f"engine {name} cannot be reached: it hung up at once")
        self._open.add(connection)
        return connection

    async def aclose(self) -> None:
        """Hangs up on all of them, calls that run too; until every one is closed."""
        self._is_closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for connection in self._open:
            connection.hang_up()
        while self._open:
            self._emptied.clear()
            await self._emptied.wait()
        self._idle.clear()

    def _connection(self) -> Connection:
        return Connection(self._origin.name, self._silence_timeout_s, self._freed, self._lost)

    def _freed(self, connection: Connection) -> None:
        if self._is_closed:
            connection.hang_up()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._expiry is None:
            self._expiry = loop.call_at(connection.idle_since + KEEP_ALIVE_S, self._expire)

    def _lost(self, connection: Connection) -> None:
        """An idle one stays listed until it expires: to find it would be a search."""
        self._open.discard(connection)
        if not self._open:
            self._emptied.set()

    def _expire(self) -> None:
        self._expiry = None
        loop = asyncio.get_running_loop()
        expired_at = loop.time() - KEEP_ALIVE_S
        num_expired = 0
        for connection in self._idle:
            if connection.idle_since > expired_at:
                self._expiry = loop.call_at(connection.idle_since + KEEP_ALIVE_S, self._expire)
                break
            connection.hang_up()
            num_expired += 1
        del self._idle[:num_expired]


def _ssl_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
