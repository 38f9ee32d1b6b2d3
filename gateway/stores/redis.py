"""The state in Redis: what several workers or gateways share.

One Lua script an operation (`lua/`), so each is atomic and one round trip. The scripts do the same floating-point
operations in the same order as `gateway.fairness.virtual_clock`, and numbers travel as text that a double survives
unchanged, so this store and `MemoryStore` agree on every answer to the last bit.

Keys, all under one hash tag (a cluster keeps them in one slot) and all handed to the scripts through KEYS:

    {justitia}:clock            hash    virtual_time, weight_sum
    {justitia}:backlogged       zset    id by virtual finish time
    {justitia}:weights          hash    weight of each backlogged id
    {justitia}:open             zset    id by virtual finish time
    {justitia}:last_seen        zset    id by last_seen_at
    {justitia}:kinds            hash    count and sum of settled costs, of each kind and of all
    {justitia}:application:ID   hash    an open application's record, under its own time to live
    {justitia}:source:NAME      hash    incarnation and counter last reported

Every key has a time to live, renewed by every operation that writes. Time: O(log n) an operation, O(d log n) for d
departures. An operation that times out is not tried again: it may have been done, and service must not count twice.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.fairness.virtual_clock import MAX_COST
from gateway.ports import ApplicationRecord, Arrival, Snapshot, Standing
from gateway.stores.checks import (
    checked_cost,
    checked_counter,
    checked_incarnation,
    checked_limit,
    checked_service,
    checked_text,
    checked_time_s,
    checked_virtual_time,
    checked_weight,
)
from gateway.stores.redis_connection import (
    DEFAULT_PREFIX,
    RedisConnection,
    checked_prefix,
    checked_ttl_s,
    script_source,
)

_PRELUDE = ("prelude", "clock", "applications")
_OPERATIONS = (
    "arrive", "revise", "charge", "touch", "close", "expire", "get",
    "serve", "report", "restore", "mean_cost", "snapshot",
)  # fmt: skip
_FIXED_KEYS = ("clock", "backlogged", "weights", "open", "last_seen", "kinds")
_FIELDS = (
    "tenant", "kind", "parent", "weight", "predicted_cost", "service",
    "virtual_start", "virtual_finish_time", "arrived_at", "last_seen_at",
)  # fmt: skip
"""In the order in which `standing` in applications.lua answers them."""

_BATCH = 256
"""Applications one script or pipeline handles: about a millisecond, for which Redis serves nobody else."""


class RedisStore:
    """A `gateway.ports.StateStore` over one Redis (>= 6.2). Connects at the first operation, again after a failure."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = 1.0,
        application_ttl_s: int = 24 * 3600,
        clock_ttl_s: int = 7 * 24 * 3600,
        max_connections: int = 16,
    ) -> None:
        """`timeout_s` bounds an exchange with Redis as a whole, the wait for a connection included; times to live are
        renewed at use. Raises ValueError for an unusable URL, prefix or time."""
        self._prefix = checked_prefix(prefix)
        checked_ttl_s(application_ttl_s, clock_ttl_s)
        self._redis = RedisConnection(url, timeout_s=timeout_s, max_connections=max_connections, decode_responses=True)
        self._client = self._redis.client
        self._fixed_keys = tuple(f"{prefix}:{name}" for name in _FIXED_KEYS)
        self._ttls_s = (clock_ttl_s, application_ttl_s)
        self._scripts = {name: self._client.register_script(script_source(*_PRELUDE, name)) for name in _OPERATIONS}

    # --- applications -----------------------------------------------------------------------------------------------

    async def arrive(self, arrival: Arrival, now: float) -> Standing:
        now, cost, weight = checked_time_s(now), checked_cost(arrival.cost), checked_weight(arrival.weight)
        for text in (arrival.application_id, arrival.tenant, arrival.kind, arrival.parent or ""):
            checked_text(text)
        parent = () if arrival.parent is None else (arrival.parent,)
        args = (arrival.application_id, arrival.tenant, arrival.kind, cost, weight, now, *parent)
        answer = await self._run("arrive", [self._application_key(arrival.application_id)], *args)
        return _standing(arrival.application_id, *answer)

    async def revise(self, application_id: ApplicationId, cost: KvTokenTime) -> Standing | None:
        return await self._ask("revise", application_id, checked_cost(cost))

    async def charge(self, application_id: ApplicationId, service: KvTokenTime, now: float) -> Standing | None:
        """The total stops at MAX_COST, so that it can always be settled."""
        return await self._ask("charge", application_id, checked_cost(service), checked_time_s(now), MAX_COST)

    async def touch(self, application_ids: Collection[ApplicationId], now: float) -> None:
        """Atomic for each application, not across all of them."""
        now = checked_time_s(now)
        for application_id in application_ids:
            checked_text(application_id)
        for ids in _batches(tuple(application_ids)):
            await self._run("touch", [self._application_key(id_) for id_ in ids], now, *ids)

    async def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> Standing | None:
        """`predicted_cost` in the answer is still the prediction; the settled cost shows in the finish time."""
        return await self._ask("close", application_id, *(() if cost is None else (checked_cost(cost),)))

    async def expire(self, idle_before: float, limit: int) -> tuple[Standing, ...]:
        """Longest idle first, ties by id. Atomic for each application, not across all of them: one that is seen
        between the choice and its closing stays open."""
        idle_before, limit = checked_time_s(idle_before), min(checked_limit(limit), sys.maxsize)
        last_seen = self._fixed_keys[_FIXED_KEYS.index("last_seen")]
        longest_idle = self._client.zrangebyscore(last_seen, "-inf", f"({idle_before!r}", start=0, num=limit)
        idle = cast(list[ApplicationId], await self._redis.within_time(longest_idle))
        expired: list[Standing] = []
        for ids in _batches(idle):
            keys = [self._application_key(id_) for id_ in ids]
            virtual_time, *closed = await self._run("expire", keys, idle_before, *ids)
            expired += (_standing(ids[index], virtual_time, fields) for index, fields in closed)
        return tuple(expired)

    async def get(self, application_id: ApplicationId) -> Standing | None:
        return await self._ask("get", application_id)

    async def snapshot(self, limit: int) -> Snapshot:
        """At most `limit` backlogged ids and `limit` open applications. The clock and the ids are read in one instant,
        the records after it and not atomically: one closed in between is left out."""
        limit = min(checked_limit(limit), sys.maxsize)
        virtual_time, backlogged, open_ids = await self._run("snapshot", [], limit - 1)
        records: list[ApplicationRecord] = []
        for ids in _batches(open_ids):
            pipeline = self._client.pipeline(transaction=False)
            for id_ in ids:
                pipeline.hmget(self._application_key(id_), list(_FIELDS))
            rows = await self._redis.within_time(pipeline.execute())
            records += (_record(id_, row) for id_, row in zip(ids, rows, strict=True) if row[0] is not None)
        return Snapshot(
            virtual_time=VirtualTime(float(virtual_time)),
            backlogged=tuple(backlogged),
            applications=tuple(sorted(records, key=lambda r: (r.virtual_finish_time, r.application_id))),
        )

    # --- the clock --------------------------------------------------------------------------------------------------

    async def serve(self, service: KvTokenTime) -> VirtualTime:
        return VirtualTime(float(await self._run("serve", [], checked_service(service))))

    async def report(self, source: str, incarnation: int, counter: KvTokenTime) -> VirtualTime:
        key = f"{self._prefix}:source:{checked_text(source)}"
        incarnation, counter = checked_incarnation(incarnation), checked_counter(counter)
        return VirtualTime(float(await self._run("report", [key], f"{incarnation:019d}", counter)))

    async def restore(self, virtual_time: VirtualTime) -> VirtualTime:
        return VirtualTime(float(await self._run("restore", [], checked_virtual_time(virtual_time))))

    async def mean_cost(self, kind: str) -> KvTokenTime | None:
        mean = await self._run("mean_cost", [], checked_text(kind))
        return None if mean is None else KvTokenTime(float(mean))

    # --- the store itself -------------------------------------------------------------------------------------------

    async def ping(self) -> None:
        await self._redis.within_time(self._client.ping())

    async def wipe(self) -> None:
        """Remove the clock and the open applications from Redis; reported sources time out by themselves."""
        _, _, open_ids = await self._run("snapshot", [], sys.maxsize - 1)
        for ids in _batches(open_ids):
            await self._redis.within_time(self._client.unlink(*(self._application_key(id_) for id_ in ids)))
        await self._redis.within_time(self._client.unlink(*self._fixed_keys))

    async def aclose(self) -> None:
        await self._redis.aclose()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _application_key(self, application_id: str) -> str:
        return f"{self._prefix}:application:{application_id}"

    async def _ask(self, operation: str, application_id: ApplicationId, *args: float) -> Standing | None:
        """An operation on one application, which may be unknown."""
        key = self._application_key(checked_text(application_id))
        answer = await self._run(operation, [key], application_id, *args)
        return None if answer is None else _standing(application_id, *answer)

    async def _run(self, operation: str, keys: Sequence[str], *args: str | float) -> Any:
        script = self._scripts[operation]
        return await self._redis.within_time(script(keys=(*self._fixed_keys, *keys), args=(*self._ttls_s, *args)))


def _batches(ids: Sequence[ApplicationId]) -> Iterator[Sequence[ApplicationId]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _standing(application_id: ApplicationId, virtual_time: str, fields: Sequence[Any]) -> Standing:
    return Standing(VirtualTime(float(virtual_time)), _record(application_id, fields))


def _record(application_id: ApplicationId, fields: Sequence[Any]) -> ApplicationRecord:
    tenant, kind, parent, weight, predicted_cost, service, start, finish, arrived_at, last_seen_at = fields
    return ApplicationRecord(
        application_id=application_id,
        tenant=tenant,
        kind=kind,
        parent=parent,
        weight=Weight(int(weight)),
        predicted_cost=KvTokenTime(float(predicted_cost)),
        service=KvTokenTime(float(service)),
        virtual_start=VirtualTime(float(start)),
        virtual_finish_time=VirtualTime(float(finish)),
        arrived_at=float(arrived_at),
        last_seen_at=float(last_seen_at),
    )
