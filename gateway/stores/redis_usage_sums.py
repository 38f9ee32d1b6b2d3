"""What tenants have used, over all gateways of one Redis.

    {justitia}:used                  sorted set  tenants by when they were last told of
    {justitia}:used:TENANT           hash        since; day and hour, which they are; total.NAME, day.NAME, hour.NAME
    {justitia}:used-by:TENANT        hash        of each application: when it was last told of, calls, kv_token_time
    {justitia}:told-used:GATEWAY     text        the sequence number that it told last

Each has a time to live. Days and hours are those of Redis's own clock (UTC). A tenant that has to make room leaves the
set at once and its hashes right after; should the gateway die in between, they time out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.stores.checks import checked_text
from gateway.stores.memory_usage_sums import CALLS, SERVICE, checked_used
from gateway.stores.redis_connection import DEFAULT_PREFIX, RedisConnection, checked_prefix, script_source
from gateway.usage_sums import (
    APPLICATION_TTL_S,
    DAY_S,
    HOUR_S,
    MAX_APPLICATIONS,
    MAX_TENANTS,
    TENANT_TTL_S,
    Amounts,
    Used,
    UsedOverall,
)

_MAX_CONNECTIONS = 4
"""Of readers; one gateway tells one thing at a time."""
_SEQUENCE_TTL_S = 7200


class RedisUsageSums:
    """A `gateway.usage_sums.UsageSums` over one Redis (>= 6.2)."""

    def __init__(
        self, url: str, *, prefix: str = DEFAULT_PREFIX, timeout_s: float, max_tenants: int = MAX_TENANTS
    ) -> None:
        """Raises ValueError for an unusable URL or prefix."""
        self._prefix = checked_prefix(prefix)
        self._max_tenants = max_tenants
        self._redis = RedisConnection(url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS, decode_responses=True)
        self._add = self._redis.client.register_script(script_source("add_used"))
        self._read = self._redis.client.register_script(script_source("read_used"))

    async def add(self, gateway: str, sequence: int, used: Mapping[str, Used]) -> None:
        keys = [f"{self._prefix}:told-used:{checked_text(gateway)}", f"{self._prefix}:used"]
        limits = (_SEQUENCE_TTL_S, TENANT_TTL_S, APPLICATION_TTL_S, self._max_tenants, MAX_APPLICATIONS)
        args: list[str | int] = [sequence, *limits]
        for tenant, one in used.items():
            keys += self._keys_of(tenant)
            args += (tenant, _written(checked_used(one)))
        forgotten: Any = await self._redis.within_time(self._add(keys=keys, args=args))
        if forgotten:
            gone = [key for tenant in forgotten for key in self._keys_of(tenant)]
            await self._redis.within_time(self._redis.client.unlink(*gone))

    async def read(self, tenant: str) -> UsedOverall:
        answer: Any = await self._redis.within_time(self._read(keys=self._keys_of(tenant), args=()))
        now, sums, applications = float(answer[0]), _paired(answer[1]), _paired(answer[2])
        if "since" not in sums:
            return UsedOverall(None)
        return UsedOverall(
            float(sums["since"]),
            total=_span(sums, "total"),
            today=_span(sums, "day") if float(sums["day"]) == now // DAY_S else {},
            this_hour=_span(sums, "hour") if float(sums["hour"]) == now // HOUR_S else {},
            applications=_recent(applications, now - APPLICATION_TTL_S),
        )

    async def aclose(self) -> None:
        await self._redis.aclose()

    def _keys_of(self, tenant: str) -> tuple[str, str]:
        return f"{self._prefix}:used:{checked_text(tenant)}", f"{self._prefix}:used-by:{tenant}"


def _written(used: Used) -> str:
    applications = {
        checked_text(name): (amounts.get(CALLS, 0), amounts.get(SERVICE, 0.0))
        for name, amounts in used.applications.items()
    }
    return json.dumps({"amounts": dict(used.amounts), "applications": applications})


def _paired(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _span(sums: Mapping[str, str], span: str) -> Amounts:
    return {name.removeprefix(f"{span}."): float(text) for name, text in sums.items() if name.startswith(f"{span}.")}


def _recent(applications: Mapping[str, str], since: float) -> Mapping[str, Amounts]:
    found = {}
    for name, text in applications.items():
        at, calls, service = map(float, text.split(" "))
        if at > since:
            found[name] = {CALLS: calls, SERVICE: service}
    return found
