"""Trained predictors in Redis, shared by every gateway that uses the same one.

    {justitia}:predictor            string  the mark, JSON
    {justitia}:predictor:VERSION    string  an artifact
    {justitia}:predictor:turn       string  who trains, or has just done so

A change is worked out here from the mark that was read (`shelf`) and made by one script, if the mark is still that one:
of several who change it at the same time one does, and the others look again. So every key is named in KEYS, and folder
and Redis follow the same rules. A mark that cannot be read is none: the next publication begins a new one.

Every key has a time to live, renewed by changes and by every `mark`: of the mark, of what is in use and of what a
roll-back would go to. The others time out. The turn lasts as long as its holder says.
"""

import asyncio
from typing import Any

from gateway.ports import ShelfMark
from gateway.stores.redis_connection import RedisConnection, checked_prefix, checked_ttl_s, script_source
from gateway.stores.shelf import MAX_BLOB_BYTES, Shelf, is_intact, is_version, published, rolled_back, version_of
from gateway.stores.shelf_json import shelf_from_json, shelf_to_json

_MAX_CONNECTIONS = 2
"""A mark is read every few seconds, an artifact at every change."""


class RedisShelf:
    """A `gateway.ports.ArtifactShelf` over one Redis (>= 6.2)."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float, ttl_s: int = 30 * 86400) -> None:
        """`timeout_s` bounds an operation as a whole, the way of an artifact of up to MAX_BLOB_BYTES included.
        Raises ValueError."""
        checked_ttl_s(ttl_s)
        self._mark_key = f"{checked_prefix(prefix)}:predictor"
        self._ttl_s = ttl_s
        self._redis = RedisConnection(
            url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS, decode_responses=False
        )
        self._hold = self._redis.client.register_script(script_source("hold_turn"))
        self._change = self._redis.client.register_script(script_source("change_shelf"))

    async def mark(self) -> ShelfMark | None:
        shelf = await self._redis.within_time(self._read_and_renew())
        return None if shelf is None else shelf.mark

    async def fetch(self, version: str) -> bytes | None:
        """None for a damaged one too."""
        if not is_version(version):
            return None
        # No more than an artifact has, whatever somebody has put there.
        asked = self._redis.client.getrange(self._key(version), 0, MAX_BLOB_BYTES)
        blob: Any = await self._redis.within_time(asked)
        return blob if await asyncio.to_thread(is_intact, blob, version) else None

    async def publish(self, blob: bytes) -> ShelfMark:
        """Raises ValueError for an empty blob or one beyond MAX_BLOB_BYTES. One that is in use already is written
        again: Redis may have evicted it."""
        version = await asyncio.to_thread(version_of, blob)
        return await self._redis.within_time(self._publish(blob, version))

    async def roll_back(self, version: str) -> ShelfMark | None:
        """None: there is no mark."""
        return await self._redis.within_time(self._roll_back(version))

    async def hold_turn(self, trainer: str, for_s: float) -> bool:
        """`gateway.learning.turns.TrainingTurns`."""
        args = (trainer, max(1, round(for_s * 1000)))
        return bool(await self._redis.within_time(self._hold(keys=(f"{self._mark_key}:turn",), args=args)))

    async def aclose(self) -> None:
        await self._redis.aclose()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _key(self, version: str) -> str:
        return f"{self._mark_key}:{version}"

    async def _read(self) -> tuple[bytes, Shelf | None]:
        """The mark as it is there, empty if it is not, and what it says."""
        seen: Any = await self._redis.client.get(self._mark_key) or b""
        try:
            return seen, shelf_from_json(seen)
        except ValueError:
            return seen, None

    async def _read_and_renew(self) -> Shelf | None:
        _, shelf = await self._read()
        if shelf is not None:
            pipeline = self._redis.client.pipeline(transaction=False)
            for key in (self._mark_key, *map(self._key, _in_use(shelf))):
                pipeline.expire(key, self._ttl_s)
            await pipeline.execute()
        return shelf

    async def _publish(self, blob: bytes, version: str) -> ShelfMark:
        while True:
            seen, before = await self._read()
            shelf = published(before, version)
            if shelf.mark.version != version:
                return shelf.mark  # rolled back
            if await self._has_changed(seen, before, shelf, blob):
                return shelf.mark

    async def _roll_back(self, version: str) -> ShelfMark | None:
        while True:
            seen, before = await self._read()
            if before is None:
                return None
            shelf = rolled_back(before, version)
            if shelf == before or await self._has_changed(seen, before, shelf):
                return shelf.mark

    async def _has_changed(self, seen: bytes, before: Shelf | None, after: Shelf, *blob: bytes) -> bool:
        """False: somebody else changed it first. `blob` is that of the version in use `after`."""
        in_use = _in_use(after)
        removed = () if before is None else set(before.kept) - set(after.kept)
        keys = (self._mark_key, *map(self._key, in_use), *map(self._key, removed))
        answer: Any = await self._change(keys=keys, args=(seen, shelf_to_json(after), self._ttl_s, len(in_use), *blob))
        return bool(answer)


def _in_use(shelf: Shelf) -> tuple[str, ...]:
    """What is in use and what a roll-back goes to, in this order."""
    return tuple(version for version in (shelf.mark.version, shelf.mark.previous) if version)
