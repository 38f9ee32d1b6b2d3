"""The keys of running gateways: read at the start, then followed.

    not yet read        keys of the settings; any other is 503, for it may be a good one
    read, none made     open, where that is allowed; else keys of the settings alone
    read                those and the keys of the settings, of which the settings' win

Only what was read changes anything: while the store is away or its content damaged, the last good ring stays in force,
and a revocation takes effect when the store is back. Once keys were seen the gateway never opens: where they vanish (a
Redis that was flushed, a file that was removed), those last read stay as well.
"""

import asyncio
import logging
from collections.abc import Mapping

from gateway.errors import StoreUnavailable
from gateway.identity.tenants import KeyRing, Keys, LiveKeys, UnreadKeys, key_digest
from gateway.stores.key_book import KeyBook, KeyStore, UnusableKeys

log = logging.getLogger(__name__)


class KeyWatch:
    """Owns the store, and closes it."""

    def __init__(
        self, store: KeyStore | None, api_keys: Mapping[str, str], *, may_be_open: bool, interval_s: float
    ) -> None:
        """`api_keys`: tenants by key, of the settings. `store` None: there are no others."""
        self._store = store
        self._of_settings = {key_digest(key): tenant for key, tenant in api_keys.items()}
        self._may_be_open = may_be_open and not api_keys
        self._interval_s = interval_s
        self._book: KeyBook | None = None
        self._seen: str | None = None
        """The revision last looked into; None: none yet."""
        self._damaged: str | None = None
        """The revision that could not be understood."""
        self._is_read = store is None
        self._complaint: str | None = None
        self._live = LiveKeys(self._ring() if self._is_read else UnreadKeys(KeyRing(self._of_settings)))

    @property
    def keys(self) -> Keys:
        """One object for ever, whose answers follow the store."""
        return self._live

    @property
    def has_stored_keys(self) -> bool:
        """True too while nobody could look: nothing is opened on a guess."""
        return not self._is_read or self._book is not None

    async def start(self) -> None:
        """Reads for the first time, if nobody has. Raises UnusableKeys; a Redis that is away is waited for by `run`."""
        if self._store is None or self._is_read:
            return
        try:
            exposure = await self._store.exposure()
            await self._follow(self._store)
        except StoreUnavailable as error:
            self._note(error.message)
            return
        if exposure is not None:
            log.warning("%s", exposure)

    async def run(self) -> None:
        """Until cancelled."""
        if self._store is None:
            return
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look()

    async def look(self) -> None:
        """Once. Nothing that goes wrong reaches a call."""
        if self._store is None:
            return
        try:
            await self._follow(self._store)
        except StoreUnavailable as error:
            self._note(error.message)
        except UnusableKeys as error:
            self._note(str(error))

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _follow(self, store: KeyStore) -> None:
        # The revision first: what changes in between is then read once more, and not missed.
        revision = await store.revision()
        if revision == self._damaged:
            return
        if revision != self._seen:
            try:
                await self._take(await store.read(), store.place)
            except UnusableKeys:
                self._damaged = revision  # reading the same again makes it no better
                raise
            self._seen, self._damaged = revision, None
        if self._complaint is not None:
            self._complaint = None
            log.info("API keys can be read again")

    async def _take(self, book: KeyBook | None, place: str) -> None:
        self._is_read = True
        if book is None and self._book is not None:
            log.warning("the API keys of %s are gone: those last read stay in force", place)
            return
        self._book = book
        ring = await asyncio.to_thread(self._ring)  # of 100,000 keys: a good part of a second
        self._live.now = ring
        log.info("%s", _described(ring, place))

    def _ring(self) -> KeyRing:
        if self._book is None:
            return KeyRing(None if self._may_be_open else self._of_settings)
        stored = {digest: key.tenant for digest, key in self._book.keys.items()}
        return KeyRing({**stored, **self._of_settings}, self._book.terms)

    def _note(self, complaint: str) -> None:
        if self._complaint is None:
            kept = "those last read stay in force" if self._is_read else "only those of the settings are let in"
            log.warning("API keys cannot be read (%s): %s", complaint, kept)
        self._complaint = complaint


def _described(ring: KeyRing, place: str) -> str:
    if ring.tenants is None:
        return f"there are no API keys in {place}: everybody is let in"
    if not ring.tenants:
        return f"there are no API keys in {place}: nobody is let in"
    return f"{len(ring.tenants)} API keys of {len(set(ring.tenants.values()))} tenants, kept in {place}"
