"""The state in Redis: what several workers or gateways share.

One Lua script an operation (`lua/`), so each is atomic and one round trip. The scripts do the same floating-point
operations in the same order as `gateway.fairness`, and numbers travel as text that a double survives
unchanged, so this store and `MemoryStore` agree on every answer to the last bit.

Keys, all under one hash tag (a cluster keeps them in one slot), and handed to the scripts through KEYS where their
names are known beforehand. Who has a share is an application, or a tenant:

    {justitia}:clock            hash    virtual_time, weight_sum, and who has the shares
    {justitia}:backlogged       zset    who is backlogged, by virtual finish time
    {justitia}:weights          hash    weight of each that is backlogged
    {justitia}:open             zset    who is open, by virtual finish time
    {justitia}:last_seen        zset    application by last_seen_at
    {justitia}:kinds            hash    count and sum of settled costs, of each kind and of all
    {justitia}:application:ID   hash    an open application's record, under its own time to live
    {justitia}:source:NAME      hash    incarnation and counter last reported

and where tenants have them:

    {justitia}:owners               hash    tenant of each open application
    {justitia}:tenant:T             hash    its weight, start and sums; virtual_time and weight_sum of its own clock
    {justitia}:tenant-backlogged:T  zset    application by virtual finish time on that clock, while backlogged there
    {justitia}:tenant-weights:T     hash    weights of those
    {justitia}:tenant-open:T        zset    open application by virtual finish time on that clock
    {justitia}:tenant-left:T        hash    what is left of each open application

Every key has a time to live, renewed by every operation that writes. Time: O(log n) an operation, O(d log n) for d
departures. An operation that times out is not tried again: it may have been done, and service must not count twice.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from gateway.batches import batches
from gateway.fairness.shares import SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime
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
from gateway.stores.redis_connection import DEFAULT_PREFIX, RedisConnection, checked_prefix, checked_ttl_s
from gateway.stores.redis_records import first_of, standing_of, standings_of
from gateway.stores.redis_scripts import OPERATIONS, fixed_keys, operation_source

_BATCH = 256
"""Applications one script or pipeline handles: about a millisecond, for which Redis serves nobody else."""

_TENANT_BATCH = 32
"""Applications one script closes where tenants have the shares: with each, many others of its tenant are looked at."""

_MOST = 2**53 - 1
"""No limit is larger: a whole number that a double holds."""


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
        shares: SharesName = "application",
    ) -> None:
        """`timeout_s` bounds an exchange with Redis as a whole, the wait for a connection included; times to live are
        renewed at use. Under other `shares` than the last ones order starts afresh. Raises ValueError for an unusable
        URL, prefix or time."""
        self._prefix = checked_prefix(prefix)
        checked_ttl_s(application_ttl_s, clock_ttl_s)
        self._redis = RedisConnection(url, timeout_s=timeout_s, max_connections=max_connections, decode_responses=True)
        self._client = self._redis.client
        self._fixed_keys = tuple(self._key(name) for name in fixed_keys(shares))
        self._ttls_s = (clock_ttl_s, application_ttl_s)
        self._closing_batch = _TENANT_BATCH if shares == "tenant" else _BATCH
        self._scripts = {name: self._client.register_script(operation_source(name, shares)) for name in OPERATIONS}

    # --- applications -----------------------------------------------------------------------------------------------

    async def arrive(self, arrival: Arrival, now: float) -> Standing:
        now, cost = checked_time_s(now), checked_cost(arrival.cost)
        weights = checked_weight(arrival.weight), checked_weight(arrival.tenant_weight)
        for text in (arrival.application_id, arrival.tenant, arrival.kind, arrival.parent or ""):
            checked_text(text)
        parent = () if arrival.parent is None else (arrival.parent,)
        args = (arrival.application_id, arrival.tenant, arrival.kind, cost, *weights, now, *parent)
        answer = await self._run("arrive", [self._application_key(arrival.application_id)], *args)
        return standing_of(arrival.application_id, *answer)

    async def revise(self, application_id: ApplicationId, cost: KvTokenTime) -> Standing | None:
        return await self._ask("revise", application_id, checked_cost(cost))

    async def charge(
        self, services: Mapping[ApplicationId, KvTokenTime], now: float
    ) -> Mapping[ApplicationId, Standing]:
        """A total stops at MAX_COST, so that it can always be settled."""
        now, ids = checked_time_s(now), tuple(services)
        told: list[str | float] = []
        for application_id, service in services.items():
            told += (checked_text(application_id), checked_cost(service))
        keys = [self._application_key(id_) for id_ in ids]
        answer = await self._run("charge", keys, now, *told)
        return {standing.application.application_id: standing for standing in standings_of(ids, answer)}

    async def touch(self, application_ids: Collection[ApplicationId], now: float) -> None:
        """Atomic for each application, not across all of them."""
        now = checked_time_s(now)
        for application_id in application_ids:
            checked_text(application_id)
        for ids in batches(tuple(application_ids), _BATCH):
            await self._run("touch", [self._application_key(id_) for id_ in ids], now, *ids)

    async def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> Standing | None:
        """`predicted_cost` in the answer is still the prediction; the settled cost shows in the finish time."""
        return await self._ask("close", application_id, *(() if cost is None else (checked_cost(cost),)))

    async def expire(self, idle_before: float, limit: int) -> tuple[Standing, ...]:
        """Longest idle first, ties by id. Atomic for each application, not across all of them: one that is seen
        between the choice and its closing stays open."""
        idle_before, limit = checked_time_s(idle_before), min(checked_limit(limit), _MOST)
        last_seen = self._key("last_seen")
        longest_idle = self._client.zrangebyscore(last_seen, "-inf", f"({idle_before!r}", start=0, num=limit)
        idle = cast(list[ApplicationId], await self._redis.within_time(longest_idle))
        expired: list[Standing] = []
        for ids in batches(idle, self._closing_batch):
            keys = [self._application_key(id_) for id_ in ids]
            expired += standings_of(ids, await self._run("expire", keys, idle_before, *ids))
        return tuple(expired)

    async def get(self, application_id: ApplicationId) -> Standing | None:
        return await self._ask("get", application_id)

    async def finish_times(self, application_ids: Collection[ApplicationId]) -> Mapping[ApplicationId, VirtualTime]:
        """Atomic for each batch of them."""
        for application_id in application_ids:
            checked_text(application_id)
        finish_times: dict[ApplicationId, VirtualTime] = {}
        for ids in batches(tuple(application_ids), _BATCH):
            answers = await self._run("finish_times", [], *ids)
            finish_times |= {id_: VirtualTime(float(f)) for id_, f in zip(ids, answers, strict=True) if f is not None}
        return finish_times

    async def snapshot(self, limit: int) -> Snapshot:
        """At most `limit` backlogged ids and `limit` open applications. The clock and the ids are read in one instant,
        the records after it and not atomically: one closed in between is left out."""
        limit = min(checked_limit(limit), _MOST)
        virtual_time, backlogged, opened = await self._run("snapshot", [], limit)
        records: list[ApplicationRecord] = []
        for ids in batches(first_of(opened, limit), _BATCH):
            answer = await self._run("standings", [self._application_key(id_) for id_ in ids], *ids)
            records += (standing.application for standing in standings_of(ids, answer))
        return Snapshot(
            virtual_time=VirtualTime(float(virtual_time)),
            backlogged=first_of(backlogged, limit),
            applications=tuple(sorted(records, key=lambda r: (r.virtual_finish_time, r.application_id))),
        )

    # --- the clock --------------------------------------------------------------------------------------------------

    async def serve(self, service: KvTokenTime) -> VirtualTime:
        return VirtualTime(float(await self._run("serve", [], checked_service(service))))

    async def report(self, source: str, incarnation: int, counter: KvTokenTime) -> VirtualTime:
        key = self._key(f"source:{checked_text(source)}")
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
        known = await self._redis.within_time(self._client.zrange(self._key("last_seen"), 0, -1))
        for ids in batches(cast(list[ApplicationId], known), _BATCH):
            await self._redis.within_time(self._client.unlink(*(self._application_key(id_) for id_ in ids)))
        await self._run("wipe", [])

    async def aclose(self) -> None:
        await self._redis.aclose()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _application_key(self, application_id: str) -> str:
        return self._key(f"application:{application_id}")

    async def _ask(self, operation: str, application_id: ApplicationId, *args: float) -> Standing | None:
        """An operation on one application, which may be unknown."""
        key = self._application_key(checked_text(application_id))
        answer = await self._run(operation, [key], application_id, *args)
        return None if answer is None else standing_of(application_id, *answer)

    async def _run(self, operation: str, keys: Sequence[str], *args: str | float) -> Any:
        script = self._scripts[operation]
        return await self._redis.within_time(script(keys=(*self._fixed_keys, *keys), args=(*self._ttls_s, *args)))
