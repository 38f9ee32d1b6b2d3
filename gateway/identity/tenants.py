"""Who pays: the tenant, from the key and from nothing else.

The gateway keeps no keys, only their SHA-256. A look-up by digest takes the same steps for every wrong key, and what
its timing could tell is a digest's, not a key's. (No salt: keys are long and random, not passwords.)
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.errors import AuthenticationFailed
from gateway.identity.names import is_safe_tenant, sha256_hex

KEY_HEADERS = ("authorization", "x-api-key")
"""Where keys travel. They are the gateway's to read and must not reach an engine."""

ANONYMOUS = "anonymous"

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


def key_digest(api_key: str) -> str:
    """What is stored of a key."""
    return sha256_hex(api_key)


def carried_key(headers: Iterable[tuple[str, str]]) -> str | None:
    """The key a request carries: `Authorization: Bearer`, else `x-api-key` (Anthropic's clients)."""
    other: str | None = None
    for name, value in headers:
        match name.lower():
            case "authorization":
                scheme, _, token = value.strip(" \t").partition(" ")
                if scheme.lower() == "bearer" and token.strip(" \t"):
                    return token.strip(" \t")
            case "x-api-key":
                other = other or value.strip(" \t") or None
    return other


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Tenants by the SHA-256 (hex) of their keys.

    None leaves the gateway open: each key is a tenant of its own, and so is no key. An empty mapping is not None: when
    the last key is revoked, nobody gets in. Raises ValueError for a digest or a tenant's name that is none.
    """

    tenants: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.tenants is None:
            return
        for digest, tenant in self.tenants.items():
            if not _SHA256_HEX.fullmatch(digest):
                raise ValueError(f"not a SHA-256 in hex: {digest!r} (of tenant {tenant!r})")
            if not is_safe_tenant(tenant):
                raise ValueError(f"not a tenant's name (1 to 64 of A-Z a-z 0-9 . _ ~ : @ + -): {tenant!r}")
        object.__setattr__(self, "tenants", MappingProxyType(dict(self.tenants)))

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
