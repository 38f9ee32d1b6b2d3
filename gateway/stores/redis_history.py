"""Closed applications in a Redis stream, `{justitia}:closed`: shared by every gateway that uses the same Redis.

An entry has one field, `closed`, with one line of JSON. Appending and renewing the time to live are one transaction;
Redis drops the oldest entries in whole blocks, so the stream holds some more than `max_entries`.
"""

import asyncio
from typing import Any

from gateway.ports import ClosedApplication
from gateway.stores.checks import checked_limit
from gateway.stores.closed_json import closed_to_json, readable
from gateway.stores.redis_connection import RedisConnection, checked_prefix, checked_ttl_s

_BATCH = 256
"""Entries asked for at a time: a MiB or two, for which Redis serves nobody else."""
_MAX_CONNECTIONS = 4
"""Applications close one by one, and reading is rare."""


class RedisHistory:
    """A `gateway.ports.History` over one Redis (>= 6.2)."""

    def __init__(
        self, url: str, *, prefix: str, timeout_s: float, max_entries: int = 20_000, ttl_s: int = 30 * 86400
    ) -> None:
        """`timeout_s` bounds one exchange with Redis; reading is several. Raises ValueError."""
        if max_entries < 1:
            raise ValueError("a history needs max_entries >= 1")
        checked_ttl_s(ttl_s)
        self._key = f"{checked_prefix(prefix)}:closed"
        self._max_entries = max_entries
        self._ttl_s = ttl_s
        # Bytes as they are: an entry that is no UTF-8 must not break the reading of the others.
        self._redis = RedisConnection(
            url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS, decode_responses=False
        )

    async def append(self, *closed: ClosedApplication) -> None:
        entries = [closed_to_json(one) for one in closed]
        pipeline = self._redis.client.pipeline(transaction=True)
        for entry in entries:
            pipeline.xadd(self._key, {"closed": entry}, maxlen=self._max_entries, approximate=True)
        pipeline.expire(self._key, self._ttl_s)
        await self._redis.within_time(pipeline.execute())

    async def read(self, limit: int) -> list[ClosedApplication]:
        """At most `max_entries`."""
        limit = min(checked_limit(limit), self._max_entries)
        latest: list[ClosedApplication] = []
        before = "+"
        while len(latest) < limit:
            asked = self._redis.client.xrevrange(self._key, max=before, count=_BATCH)
            entries: Any = await self._redis.within_time(asked)
            if not entries:
                break
            before = f"({entries[-1][0].decode()}"
            lines = [fields.get(b"closed", b"") for _, fields in reversed(entries)]
            latest[:0] = await asyncio.to_thread(_readable, lines)
        return latest[max(0, len(latest) - limit) :]

    async def aclose(self) -> None:
        await self._redis.aclose()


def _readable(lines: list[bytes]) -> list[ClosedApplication]:
    return list(readable(lines))
