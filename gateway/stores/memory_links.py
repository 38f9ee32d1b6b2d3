"""Links between calls in this process: one gateway with one worker needs no more."""

from collections.abc import Mapping, Sequence

from gateway.identity import LinkKey, Links


class MemoryLinks:
    """A `gateway.ports.LinkStore`. Nothing here awaits anything, so what is noted is known at once."""

    def __init__(self, max_links: int = 200_000) -> None:
        """What they take in memory: `gateway.identity.Links`. Raises ValueError."""
        self._links = Links(max_links)

    async def find(self, tenant: str, keys: Sequence[LinkKey]) -> Mapping[LinkKey, str]:
        return self._links.find(tenant, keys)

    async def note(self, tenant: str, links: Mapping[LinkKey, str]) -> None:
        self._links.note(tenant, links)

    async def aclose(self) -> None:
        """Nothing to close."""
