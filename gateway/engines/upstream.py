"""The HTTP client towards one engine: HTTP/1.1 and nothing else, no redirects, cookies, proxies or compression.

One of our own, on asyncio's protocols and httptools, because the client decides how fast a gateway in Python is
(docs/speed.md). What it owns: `request_head` what leaves, `connection` what arrives and its limits, `pool` reuse.
"""

from collections.abc import Sequence

from gateway.engines.origin import Origin
from gateway.engines.pool import Pool
from gateway.engines.request_head import request_head
from gateway.engines.response import UpstreamResponse


class Upstream:
    def __init__(self, origin: Origin, connect_timeout_s: float, silence_timeout_s: float) -> None:
        """`silence_timeout_s` bounds every pause of the engine: before its answer, within it, and in taking what we
        send. A reader of ours that is slow does not count."""
        self._authority = origin.authority
        self._pool = Pool(origin, connect_timeout_s, silence_timeout_s)

    async def send(
        self, method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> UpstreamResponse:
        """Until the answer has begun. Header names are in lower case.

        Raises InvalidRequest for what cannot be sent, RequestUnsent while nothing was, and after that
        EngineUnreachable or EngineTimeout: then nobody can tell what the engine has read, and it is not sent twice.
        """
        head = request_head(method, target, self._authority, headers, len(body))
        connection = self._pool.idle() or await self._pool.open()
        return await connection.ask(method, head, body)

    async def aclose(self) -> None:
        await self._pool.aclose()
