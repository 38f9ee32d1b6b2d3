"""What tenants use and run, over all gateways of one Redis.

    {justitia}:usage:TENANT    hash    tokens, kv_token_time, at; run:GATEWAY of each gateway that has calls of it
    {justitia}:gateway:NAME    text    the sequence number that it told last

Each has a time to live. Buckets leak by Redis's own clock. What an exchange that timed out may have added is not added
again: the gateway repeats it under the same sequence number.
"""

from collections.abc import Mapping
from typing import Any

from gateway.ports import TenantShare, TenantTotals
from gateway.stores.checks import checked_text
from gateway.stores.memory_usage import HEARTBEAT_S, TTL_S, checked_share
from gateway.stores.redis_connection import DEFAULT_PREFIX, RedisConnection, checked_prefix, script_source

_MAX_CONNECTIONS = 2
"""One exchange at a time, and one that was given up."""


class RedisUsage:
    """A `gateway.ports.UsageLedger` over one Redis (>= 6.2)."""

    def __init__(self, url: str, *, prefix: str = DEFAULT_PREFIX, timeout_s: float) -> None:
        """Raises ValueError for an unusable URL or prefix."""
        self._prefix = checked_prefix(prefix)
        self._redis = RedisConnection(url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS, decode_responses=True)
        self._script = self._redis.client.register_script(script_source("exchange_usage"))

    async def exchange(
        self, gateway: str, sequence: int, shares: Mapping[str, TenantShare]
    ) -> Mapping[str, TenantTotals]:
        keys = [f"{self._prefix}:gateway:{checked_text(gateway)}"]
        args: list[str | int | float] = [gateway, sequence, TTL_S, HEARTBEAT_S]
        for tenant, share in shares.items():
            keys.append(f"{self._prefix}:usage:{checked_text(tenant)}")
            args += checked_share(share)
        answer: Any = await self._redis.within_time(self._script(keys=keys, args=args))
        numbers = iter(answer)
        totals = zip(shares, numbers, numbers, numbers, strict=True)
        return {
            tenant: TenantTotals(float(tokens), float(kv_token_time), int(elsewhere))
            for tenant, tokens, kv_token_time, elsewhere in totals
        }

    async def aclose(self) -> None:
        await self._redis.aclose()
