"""Keys in Redis, shared by every gateway that uses the same one.

    {justitia}:keys             hash    SHA-256 of a key → its tenant, note and time, JSON
    {justitia}:tenants          hash    tenant → its terms, JSON
    {justitia}:keys:revision    string  chosen anew at random at every change

A change is worked out here from the book that was read and made by one script, if the revision is still the one seen:
of several who change it at the same time one does, and the others look again. Reading takes everything at once (a few
hundred bytes a key), and only when the revision is another. Nothing has a time to live: a Redis that evicts, or keeps
nothing on a disk, forgets keys.
"""

import asyncio
import secrets
from typing import Any

from gateway.stores.key_book import MAX_KEYS, Change, KeyBook, UnusableKeys, checked_tenant
from gateway.stores.keys_json import key_from_json, key_to_json, terms_from_json, terms_to_json
from gateway.stores.redis_connection import RedisConnection, checked_prefix, script_source

_MAX_CONNECTIONS = 2
"""A revision is read every few seconds, a book at every change."""
_KEYS, _TENANTS = 2, 3
"""Their indexes in KEYS of the script."""


class RedisKeys:
    """A `gateway.stores.key_book.KeyStore` over one Redis (>= 6.2)."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float) -> None:
        """`timeout_s` bounds an operation as a whole, the reading of 100,000 keys included. Raises ValueError."""
        prefix = checked_prefix(prefix)
        self.place = f"Redis ({prefix}:keys)"
        self._keys = f"{prefix}:keys"
        self._tenants = f"{prefix}:tenants"
        self._revision = f"{prefix}:keys:revision"
        # Bytes as they are: what is no UTF-8 is a damaged entry like any other.
        self._redis = RedisConnection(
            url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS, decode_responses=False
        )
        self._change = self._redis.client.register_script(script_source("change_keys"))

    async def revision(self) -> str:
        revision: Any = await self._redis.within_time(self._redis.client.get(self._revision))
        return "" if revision is None else repr(revision)

    async def read(self) -> KeyBook | None:
        revision, book = await self._redis.within_time(self._read())
        return book if revision or book != KeyBook() else None

    async def change(self, change: Change) -> KeyBook:
        return await self._redis.within_time(self._change_until_done(change))

    async def exposure(self) -> str | None:
        return None

    async def aclose(self) -> None:
        await self._redis.aclose()

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _read(self) -> tuple[bytes, KeyBook]:
        """The revision as it is there, empty if it is not, and the book of that revision."""
        sizes = self._redis.client.pipeline(transaction=False)
        sizes.hlen(self._keys)
        sizes.hlen(self._tenants)
        if max(await sizes.execute()) > MAX_KEYS:
            raise UnusableKeys(f"{self.place} holds more than {MAX_KEYS} keys or tenants")
        pipeline = self._redis.client.pipeline(transaction=True)
        pipeline.get(self._revision)
        pipeline.hgetall(self._keys)
        pipeline.hgetall(self._tenants)
        revision, keys, terms = await pipeline.execute()
        try:
            return revision or b"", await asyncio.to_thread(_book_of, keys, terms)
        except ValueError as error:
            raise UnusableKeys(f"{self.place} is damaged: {error}") from error

    async def _change_until_done(self, change: Change) -> KeyBook:
        while True:
            seen, before = await self._read()
            after = change(before)
            if await self._change(
                keys=(self._revision, self._keys, self._tenants),
                args=(seen, secrets.token_hex(8), *_differences(before, after)),
            ):
                return after


def _book_of(keys: dict[bytes, bytes], terms: dict[bytes, bytes]) -> KeyBook:
    digests = {name.decode(): entry for name, entry in keys.items()}
    tenants = {checked_tenant(name.decode()): entry for name, entry in terms.items()}
    return KeyBook(
        {digest: key_from_json(digest, entry) for digest, entry in digests.items()},
        {tenant: terms_from_json(entry) for tenant, entry in tenants.items()},
    )


def _differences(before: KeyBook, after: KeyBook) -> list[bytes | str | int]:
    """Triples as the script takes them."""
    found: list[bytes | str | int] = []
    for digest in before.keys.keys() | after.keys.keys():
        if before.keys.get(digest) != (key := after.keys.get(digest)):
            found += (_KEYS, digest, b"" if key is None else key_to_json(key))
    for tenant in before.terms.keys() | after.terms.keys():
        if before.terms.get(tenant) != (terms := after.terms.get(tenant)):
            found += (_TENANTS, tenant, b"" if terms is None else terms_to_json(terms))
    return found
