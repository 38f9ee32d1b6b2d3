"""What calls leave for later ones to be recognised by."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.identity.links import LinkKey


class LinkStore(Protocol):
    """What earlier calls left for later ones to be recognised by, shared where the store is. Never raises: what cannot
    be found or noted costs order, no call."""

    async def find(self, tenant: str, keys: Sequence[LinkKey]) -> Mapping[LinkKey, str]:
        """Names by those of the keys that are known; when one is, those after it may be left out."""
        ...

    async def note(self, tenant: str, links: Mapping[LinkKey, str]) -> None: ...

    async def aclose(self) -> None: ...
