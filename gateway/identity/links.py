"""What earlier calls left behind: links, each from something a later call may carry to the application it belongs to.

A link's key is a digest of (kind of link, tenant, value): nothing that a client wrote is kept in it, and the same value
of two tenants gives two keys. Its value is the name of an application that is a root, so one look-up is enough.
"""

import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, NewType

LinkKey = NewType("LinkKey", bytes)
"""16 bytes."""

LinkKind = Literal["response", "conversation", "trace", "family", "home"]
"""What the value is: a response's id, a conversation's, a trace's, a child's name; a response's id once more, for the
engine that keeps it. (`lineage` has keys of its own.)"""

KEY_BYTES = 16


def link_key(kind: LinkKind, tenant: str, value: str) -> LinkKey:
    """A tenant's name has no NUL, so what is digested has one reading only."""
    text = f"{kind}\0{tenant}\0{value}".encode("utf-8", "surrogatepass")
    return LinkKey(hashlib.sha256(text).digest()[:KEY_BYTES])


class Links:
    """The links that one process knows: the latest, at most `max_links`, each tenant's own apart.

    When full, the oldest link of the tenant with most links goes (of several such, the one who notes). So a tenant
    that holds no more than `max_links` divided by the number of tenants never loses a link to another, whatever that
    other does. A link that is found or noted again is young again. Every operation takes constant time a key.

    A link takes about 0.3 KiB: 200,000 take some 60 MB. Names are of at most 128 characters, so half a KiB is the most.
    A tenant takes another 1 KiB while it has links.
    """

    def __init__(self, max_links: int = 200_000) -> None:
        """Raises ValueError."""
        if max_links < 1:
            raise ValueError(f"there must be room for at least one link, got max_links = {max_links}")
        self._max_links = max_links
        self._num_links = 0
        self._tenants: dict[str, OrderedDict[LinkKey, str]] = {}
        self._by_size: defaultdict[int, dict[str, None]] = defaultdict(dict)
        """Tenants by the number of their links, so that the one with most is at hand."""
        self._largest = 0

    def __len__(self) -> int:
        return self._num_links

    def find(self, tenant: str, keys: Iterable[LinkKey]) -> dict[LinkKey, str]:
        """The first of the keys that is known, if any is."""
        links = self._tenants.get(tenant)
        if links is not None:
            for key in keys:
                name = links.get(key)
                if name is not None:
                    links.move_to_end(key)
                    return {key: name}
        return {}

    def note(self, tenant: str, links: Mapping[LinkKey, str]) -> None:
        """The later of two names for a key stands."""
        for key, name in links.items():
            own = self._tenants.get(tenant)
            if own is not None and key in own:
                own[key] = name
                own.move_to_end(key)
                continue
            if self._num_links >= self._max_links:
                self._forget_one(tenant)
                own = self._tenants.get(tenant)
            if own is None:
                own = self._tenants[tenant] = OrderedDict()
            own[key] = name
            self._num_links += 1
            self._resize(tenant, len(own) - 1, len(own))

    def _forget_one(self, noting: str) -> None:
        largest = self._by_size[self._largest]
        tenant = noting if noting in largest else next(iter(largest))
        links = self._tenants[tenant]
        links.popitem(last=False)
        self._num_links -= 1
        if not links:
            del self._tenants[tenant]
        self._resize(tenant, len(links) + 1, len(links))

    def _resize(self, tenant: str, before: int, after: int) -> None:
        """By one, up or down: what keeps `_largest` true without a search."""
        sizes = self._by_size
        if before:
            del sizes[before][tenant]
            if not sizes[before]:
                del sizes[before]
        if after:
            sizes[after][tenant] = None
        if after > self._largest or (before == self._largest and before not in sizes):
            self._largest = after
