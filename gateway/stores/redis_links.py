"""Links between calls, shared by every gateway that uses the same Redis: `{justitia}:link:{hex}`, a name each.

What this gateway knows itself is asked first. Redis is asked for what it does not know (one MGET) and told what is new
(one pipeline), and with neither more than once in `quiet_s` for the same key: most calls need no Redis at all. A name
from elsewhere becomes known here at most `quiet_s` after it was first looked for in vain.

Without Redis links are known to the gateway that noted them, and calls are grouped as far as that goes. After a failure
Redis is left alone for `pause_s`, so that calls do not wait for it one after another.

In Redis a link takes some 200 bytes and lives for `ttl_s`; a call leaves one or two. At 50 unnamed calls a second and
an hour each, that is 40 to 80 MB.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.errors import StoreUnavailable
from gateway.identity import LinkKey, Links, safe_name
from gateway.stores.redis_connection import RedisConnection, checked_prefix, checked_ttl_s

_MAX_CONNECTIONS = 8
"""One exchange takes a fraction of a millisecond; more would wait in Redis instead of here."""
_MAX_ASKED = 50_000
"""Keys whose last exchange is remembered, for `quiet_s`; a key beyond them may be asked for once more. Some 10 MB."""

_T = TypeVar("_T")


class RedisLinks:
    """A `gateway.ports.LinkStore` over one Redis (>= 6.2)."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        timeout_s: float,
        max_links: int = 200_000,
        ttl_s: int = 3600,
        quiet_s: float = 30.0,
        pause_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_links` are kept here (see `gateway.identity.Links`). `clock`: seconds, monotone. Raises ValueError."""
        checked_ttl_s(ttl_s)
        if min(quiet_s, pause_s) < 0:
            raise ValueError("quiet_s and pause_s must not be negative")
        self._key_prefix = f"{checked_prefix(prefix)}:link:"
        self._links = Links(max_links)
        self._ttl_s = ttl_s
        self._quiet_s = min(quiet_s, ttl_s / 2)
        self._pause_s = pause_s
        self._clock = clock
        self._asked_at: OrderedDict[LinkKey, float] = OrderedDict()
        """When a key last went to Redis, oldest first."""
        self._paused_until = float("-inf")
        self._redis = RedisConnection(
            url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS, decode_responses=False
        )

    async def find(self, tenant: str, keys: Sequence[LinkKey]) -> Mapping[LinkKey, str]:
        known = self._links.find(tenant, keys)
        if known:
            return known
        asked = self._not_quiet(keys)
        if not asked:
            return {}
        names: list[Any] | None = await self._exchange(asked, self._redis.client.mget(self._in_redis(asked)))
        for key, name in zip(asked, names or (), strict=False):
            if name is not None:
                # Of the same Redis anybody may write anything: a name is made safe wherever it comes from.
                known[key] = safe_name(name.decode("utf-8", "replace"))
        self._links.note(tenant, known)
        return known

    async def note(self, tenant: str, links: Mapping[LinkKey, str]) -> None:
        old = {key for key, name in links.items() if self._links.find(tenant, (key,)).get(key) == name}
        self._links.note(tenant, links)
        told = self._not_quiet([key for key in links if key in old])
        told += [key for key in links if key not in old]
        if not told or self._is_paused:
            return
        pipeline = self._redis.client.pipeline(transaction=False)
        for key, redis_key in zip(told, self._in_redis(told), strict=True):
            pipeline.set(redis_key, links[key], ex=self._ttl_s)
        await self._exchange(told, pipeline.execute())

    async def aclose(self) -> None:
        await self._redis.aclose()

    @property
    def _is_paused(self) -> bool:
        return self._clock() < self._paused_until

    def _not_quiet(self, keys: Sequence[LinkKey]) -> list[LinkKey]:
        now = self._clock()
        if now < self._paused_until:
            return []
        return [key for key in keys if now - self._asked_at.get(key, float("-inf")) >= self._quiet_s]

    async def _exchange(self, keys: Sequence[LinkKey], answer: Awaitable[_T]) -> _T | None:
        """None where Redis could not be used: links are a convenience, and no call fails for want of them."""
        try:
            found = await self._redis.within_time(answer)
        except StoreUnavailable:
            self._paused_until = self._clock() + self._pause_s
            return None
        now = self._clock()
        for key in keys:
            self._asked_at[key] = now
            self._asked_at.move_to_end(key)
        self._forget_asked(now)
        return found

    def _forget_asked(self, now: float) -> None:
        """What may be asked for again anyway, and what is too much."""
        while self._asked_at:
            asked_at = next(iter(self._asked_at.values()))
            if now - asked_at < self._quiet_s and len(self._asked_at) <= _MAX_ASKED:
                return
            self._asked_at.popitem(last=False)

    def _in_redis(self, keys: Sequence[LinkKey]) -> list[str]:
        return [f"{self._key_prefix}{key.hex()}" for key in keys]
