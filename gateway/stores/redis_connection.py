"""One Redis, asked in time: what everything in this folder that lives in Redis has in common."""

import asyncio
import re
from collections.abc import Awaitable
from importlib import resources
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import StoreUnavailable

DEFAULT_PREFIX = "{justitia}"

_LACKS = re.compile(r"unknown (redis )?command|invalid stream id", re.IGNORECASE)
"""Answers of a Redis before 6.2 to what is asked of it."""
_CODE = re.compile(r": -([A-Z]{2,}) ")
"""Why a script ended, within the sentence of Redis 6.2; later ones begin with it, and redis-py has a name for it."""

_T = TypeVar("_T")


class RedisConnection:
    """Connections to one Redis (>= 6.2), opened at the first use and again after a failure."""

    def __init__(self, url: str, *, timeout_s: float, max_connections: int, decode_responses: bool) -> None:
        """`timeout_s` bounds what is given to `within_time` as a whole, the wait for a connection included.
        Raises ValueError for an unusable URL."""
        # One timeout, ours, in within_time. With `socket_timeout` redis-py sends under asyncio.wait_for, which in
        # Python 3.11 can lose a cancellation that comes as it ends, and our timeout is a cancellation.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            decode_responses=decode_responses,
            protocol=2,
        )
        self.client = Redis.from_pool(pool)
        self._timeout_s = timeout_s

    async def within_time(self, answer: Awaitable[_T]) -> _T:
        """Raises StoreUnavailable when Redis is silent for too long, away, or refuses."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except (TimeoutError, RedisTimeoutError) as error:
            raise StoreUnavailable(f"the state store did not answer within {self._timeout_s:g} s") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the state store cannot be used: {_reason_of(error)}") from error

    async def aclose(self) -> None:
        await self.client.aclose()


def _reason_of(error: Exception) -> str:
    """Without the text, which repeats what was asked."""
    name = type(error).__name__
    if not isinstance(error, ResponseError):
        return name
    if _LACKS.search(str(error)):
        return "it is too old, or lacks commands of Redis 6.2"
    code = _CODE.search(str(error))
    return name if code is None else f"{name} {code[1]}"


def checked_prefix(prefix: str) -> str:
    """A cluster keeps keys in one slot only under a hash tag. Raises ValueError."""
    if not re.match(r"[^{]*\{[^}]+\}", prefix):
        raise ValueError(f"the prefix of a Redis store must hold a hash tag such as {{justitia}}, got {prefix!r}")
    return prefix


def checked_ttl_s(*ttls_s: int) -> None:
    """Raises ValueError."""
    if min(ttls_s) < 1:
        raise ValueError("times to live must be at least 1 s")


def script_source(*names: str) -> str:
    """The files of `lua/` as one script. Only the package's own data: no path is assumed."""
    folder = resources.files("gateway.stores") / "lua"
    return "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in names)
