"""Who has a key, and the rules of creating and revoking one, whatever the keys are kept in.

A change takes a book and answers a book, so that a store can work it out again when somebody else was faster. Terms are
their tenant's, not a key's, and outlive its last key. Only digests are here: what would open the gateway is nowhere.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from gateway.identity.names import is_safe_tenant
from gateway.identity.tenants import TENANT_NAME
from gateway.identity.terms import TenantTerms

MAX_KEYS = 100_000
"""And as many tenants: some 25 MB as JSON."""
MAX_NOTE_CHARACTERS = 100
ID_DIGITS = 12
"""48 bits tell 100,000 keys apart but in one case of 50,000, and such a key is not created."""

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_TIME_S = 2**53


@dataclass(frozen=True, slots=True)
class StoredKey:
    """Raises ValueError for what could not be read back."""

    digest: str
    """SHA-256, hex."""
    tenant: str
    note: str
    created_at: int
    """Unix seconds."""

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("a key must be kept as its SHA-256 in hex")
        checked_tenant(self.tenant)
        if len(self.note) > MAX_NOTE_CHARACTERS or not self.note.isprintable():
            raise ValueError(f"a note must be one line of at most {MAX_NOTE_CHARACTERS} printable characters")
        if not 0 <= self.created_at <= _MAX_TIME_S:
            raise ValueError(f"no time of creation: {self.created_at}")

    @property
    def key_id(self) -> str:
        """What it is called in public."""
        return self.digest[:ID_DIGITS]


@dataclass(frozen=True, slots=True)
class KeyBook:
    keys: Mapping[str, StoredKey] = field(default_factory=dict)
    """By digest."""
    terms: Mapping[str, TenantTerms] = field(default_factory=dict)
    """By tenant."""

    def __post_init__(self) -> None:
        if max(len(self.keys), len(self.terms)) > MAX_KEYS:
            raise ValueError(f"more than {MAX_KEYS} keys or tenants")

    def with_key(self, key: StoredKey) -> "KeyBook":
        """Raises ValueError for one key too many, or one with another's id."""
        if any(key.key_id == other.key_id for other in self.keys.values()):
            raise ValueError("another key has this id")
        return replace(self, keys={**self.keys, key.digest: key})

    def with_terms(self, tenant: str, terms: TenantTerms) -> "KeyBook":
        """Raises ValueError for what is no tenant's name, or one tenant too many."""
        return replace(self, terms={**self.terms, checked_tenant(tenant): terms})

    def without(self, key_id: str) -> "KeyBook":
        """Raises UnknownKey."""
        found = self.named(key_id)
        return replace(self, keys={digest: key for digest, key in self.keys.items() if digest != found.digest})

    def named(self, key_id: str) -> StoredKey:
        """By its id. Raises UnknownKey."""
        found = [key for key in self.keys.values() if key.key_id == key_id]
        if not found:
            raise UnknownKey(key_id)
        return found[0]


class UnknownKey(LookupError):
    """No key has this id."""


class UnusableKeys(Exception):
    """What is kept of keys cannot be understood, or may not be read, and will not be better soon: in one line that
    names the place, and shows nothing of what is there."""


Change = Callable[[KeyBook], KeyBook]


class KeyStore(Protocol):
    """One book, shared by commands and gateways.

    All raise `gateway.errors.StoreUnavailable` when it cannot be reached in time, or written.
    """

    place: str
    """In words, without a password."""

    async def revision(self) -> str:
        """Another one after every change; empty where nothing was ever kept. Costs little. Raises UnusableKeys."""
        ...

    async def read(self) -> KeyBook | None:
        """None: nobody has made a key or terms here, ever. Raises UnusableKeys."""
        ...

    async def change(self, change: Change) -> KeyBook:
        """The book after it. Of several changes at once none is lost; `change` may be asked more than once. Raises what
        it raises, and UnusableKeys."""
        ...

    async def exposure(self) -> str | None:
        """Why others may know what is kept here, or add to it, in a line; None: nothing known."""
        ...

    async def aclose(self) -> None: ...


def checked_tenant(tenant: str) -> str:
    """Raises ValueError."""
    if tenant.startswith("sk-"):
        raise ValueError("a tenant is named like a key")  # perhaps it is one: not shown
    if not is_safe_tenant(tenant):
        raise ValueError(f"not a tenant's name ({TENANT_NAME}): {tenant!r:.80}")
    return tenant
