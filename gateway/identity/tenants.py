"""Who pays, and on what terms: the tenant, from the key and from nothing else.

The gateway keeps no keys, only their SHA-256. A look-up by digest takes the same steps for every wrong key, and what
its timing could tell is a digest's, not a key's. (No salt: keys are long and random, not passwords.)
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from gateway.errors import AuthenticationFailed, StoreUnavailable
from gateway.identity.names import is_safe_tenant, sha256_hex
from gateway.identity.terms import NO_LIMITS, TenantTerms

KEY_HEADERS = ("authorization", "x-api-key")
"""Where keys travel. They are the gateway's to read and must not reach an engine."""

ANONYMOUS = "anonymous"

TENANT_NAME = "1 to 64 of A-Z a-z 0-9 . _ ~ : @ + -"
"""In words, where one is refused."""

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


def key_digest(api_key: str) -> str:
    """What is stored of a key."""
    return sha256_hex(api_key)


def carried_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key a request carries: `Authorization: Bearer`, else `x-api-key` (Anthropic's clients). Names in lower case.

    Where both are sent the bearer's counts alone, and is not tried beside the other: Anthropic's clients send it only
    when told to (ANTHROPIC_AUTH_TOKEN), x-api-key also when some other service's key lies in the environment.
    """
    other: str | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").strip(" \t").partition(" ")
            if scheme.lower() == "bearer" and token.strip(" \t"):
                return token.strip(" \t")
        elif name == b"x-api-key":
            other = other or value.decode("latin-1").strip(" \t") or None
    return other


class Keys(Protocol):
    """Who has which key. What it knows may change from one question to the next."""

    @property
    def is_open(self) -> bool:
        """Everybody is let in; who says what key is no proof of anything."""
        ...

    def tenant_of(self, api_key: str | None) -> str:
        """Raises AuthenticationFailed for a missing or unknown key, StoreUnavailable while none can be told from any
        other. Neither shows the key."""
        ...

    def terms_of(self, tenant: str) -> TenantTerms:
        """NO_LIMITS for a tenant that nothing was agreed with."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """Tenants by the SHA-256 (hex) of their keys, and terms by tenant: a `Keys` that never changes.

    None leaves the gateway open: each key is a tenant of its own, and so is no key. An empty mapping is not None: when
    the last key is revoked, nobody gets in. Raises ValueError for a digest or a tenant's name that is none.
    """

    tenants: Mapping[str, str] | None = None
    terms: Mapping[str, TenantTerms] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", MappingProxyType(dict(self.terms)))
        if self.tenants is None:
            return
        for digest, tenant in self.tenants.items():
            if not _SHA256_HEX.fullmatch(digest):
                raise ValueError(f"not a SHA-256 in hex (of tenant {tenant!r})")  # perhaps a key: not shown
            if not is_safe_tenant(tenant):
                raise ValueError(f"not a tenant's name ({TENANT_NAME}): {tenant!r:.80}")
        object.__setattr__(self, "tenants", MappingProxyType(dict(self.tenants)))

    def __repr__(self) -> str:
        if self.tenants is None:
            return "KeyRing(open)"
        return f"KeyRing({len(self.tenants)} keys of {len(set(self.tenants.values()))} tenants)"

    @property
    def is_open(self) -> bool:
        return self.tenants is None

    def tenant_of(self, api_key: str | None) -> str:
        """Raises AuthenticationFailed for a missing or unknown key, unless the ring is open."""
        if self.tenants is None:
            # 48 bits tell honest keys apart. Who looks for a collision on an open gateway could as well send no key.
            return f"key-{key_digest(api_key)[:12]}" if api_key else ANONYMOUS
        if not api_key:
            raise AuthenticationFailed("no API key was sent (Authorization: Bearer … or x-api-key)")
        tenant = self.tenants.get(key_digest(api_key))
        if tenant is None:
            raise AuthenticationFailed("this API key is not known here")
        return tenant

    def terms_of(self, tenant: str) -> TenantTerms:
        return NO_LIMITS if self.tenants is None else self.terms.get(tenant, NO_LIMITS)


class LiveKeys:
    """A `Keys` to hold for ever: `now` is put in its place whole, so that no question meets half a change."""

    __slots__ = ("now",)

    def __init__(self, now: Keys) -> None:
        self.now = now

    def __repr__(self) -> str:
        return f"LiveKeys({self.now!r})"

    @property
    def is_open(self) -> bool:
        return self.now.is_open

    def tenant_of(self, api_key: str | None) -> str:
        return self.now.tenant_of(api_key)

    def terms_of(self, tenant: str) -> TenantTerms:
        return self.now.terms_of(tenant)


@dataclass(frozen=True, slots=True, repr=False)
class UnreadKeys:
    """A `Keys` of whose keys only some could be read yet: theirs are let in, any other may come again."""

    known: KeyRing

    def __repr__(self) -> str:
        return f"UnreadKeys({self.known!r})"

    @property
    def is_open(self) -> bool:
        return False

    def tenant_of(self, api_key: str | None) -> str:
        try:
            return self.known.tenant_of(api_key)
        except AuthenticationFailed:
            if not api_key:
                raise
        raise StoreUnavailable("API keys cannot be checked at the moment")

    def terms_of(self, tenant: str) -> TenantTerms:
        return self.known.terms_of(tenant)
