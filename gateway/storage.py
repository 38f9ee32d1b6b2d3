"""What a gateway keeps, and where: in its own process and a folder of its user, or in the Redis that gateways share."""

from typing import Final, Protocol

from gateway.ports import ArtifactShelf, History, LinkStore, StateStore, UsageLedger
from gateway.settings import Settings
from gateway.stores.file_history import FileHistory
from gateway.stores.folder_shelf import FolderShelf
from gateway.stores.memory import MemoryStore
from gateway.stores.memory_links import MemoryLinks
from gateway.stores.redis import RedisStore
from gateway.stores.redis_history import RedisHistory
from gateway.stores.redis_links import RedisLinks
from gateway.stores.redis_shelf import RedisShelf
from gateway.stores.redis_usage import RedisUsage
from gateway.stores.redis_usage_sums import RedisUsageSums
from gateway.usage_sums import UsageSums

_SLOW_S: Final = 10.0
"""For what no call waits for: a record, an artifact of megabytes."""


class Storage(Protocol):
    """Makes what is asked for; whoever asked closes it."""

    def store(self) -> StateStore: ...

    def links(self) -> LinkStore: ...

    def history(self) -> History: ...

    def shelf(self) -> ArtifactShelf: ...

    def ledger(self) -> UsageLedger | None:
        """None: this gateway's own sums are all there is."""
        ...

    def sums(self) -> UsageSums | None:
        """None, as of the ledger."""
        ...


def storage_of(settings: Settings) -> Storage:
    """Raises ValueError for an unusable Redis URL, when something is made."""
    url = settings.store.redis_url
    return Embedded(settings) if url is None else SharedRedis(settings, url)


class Embedded:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def store(self) -> StateStore:
        return MemoryStore(self._settings.scheduling.shares)

    def links(self) -> LinkStore:
        return MemoryLinks(self._settings.store.max_links)

    def history(self) -> History:
        learning = self._settings.learning
        return FileHistory(learning.folder_in_use() / "closed.jsonl", max_entries=learning.max_recorded)

    def shelf(self) -> ArtifactShelf:
        return FolderShelf(self._settings.learning.folder_in_use() / "predictors")

    def ledger(self) -> None:
        return None

    def sums(self) -> None:
        return None


class SharedRedis:
    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._prefix = f"{{{settings.store.prefix}}}"

    def store(self) -> StateStore:
        store = self._settings.store
        return RedisStore(
            self._url,
            prefix=self._prefix,
            timeout_s=store.timeout_s,
            application_ttl_s=store.application_ttl_s,
            clock_ttl_s=store.clock_ttl_s,
            shares=self._settings.scheduling.shares,
        )

    def links(self) -> LinkStore:
        store = self._settings.store
        return RedisLinks(
            self._url,
            prefix=self._prefix,
            timeout_s=store.timeout_s,
            max_links=store.max_links,
            ttl_s=store.link_ttl_s,
        )

    def history(self) -> History:
        max_entries = self._settings.learning.max_recorded
        return RedisHistory(self._url, prefix=self._prefix, timeout_s=_SLOW_S, max_entries=max_entries)

    def shelf(self) -> ArtifactShelf:
        return RedisShelf(self._url, prefix=self._prefix, timeout_s=_SLOW_S)

    def ledger(self) -> UsageLedger:
        return RedisUsage(self._url, prefix=self._prefix, timeout_s=self._settings.store.timeout_s)

    def sums(self) -> UsageSums:
        return RedisUsageSums(self._url, prefix=self._prefix, timeout_s=self._settings.store.timeout_s)
