"""Keys and terms as JSON: what a file holds as one object and Redis entry by entry."""

import json
from collections.abc import Mapping, Set
from dataclasses import asdict, fields
from typing import Any

from gateway.fairness.units import Weight
from gateway.identity.terms import TenantTerms
from gateway.stores.key_book import MAX_KEYS, KeyBook, StoredKey, checked_tenant
from gateway.stores.strict_json import object_from, written

FORMAT = 1
MAX_ENTRY_BYTES = 4096
"""A note of the widest characters takes a third of it."""
MAX_BOOK_BYTES = 128 * 2**20
"""100,000 keys of as many tenants take 40 MB, unless each has a long note."""

_KEY = frozenset({"tenant", "note", "created_at"})
_TERMS = frozenset(term.name for term in fields(TenantTerms))
_BOOK = frozenset({"keys", "tenants"})


def book_to_json(book: KeyBook) -> bytes:
    """A line for each key and tenant, for whoever looks. Raises ValueError where it could not be read back."""
    keys = ",\n".join(f"{json.dumps(digest)}:{written(_key(key))}" for digest, key in book.keys.items())
    tenants = ",\n".join(f"{json.dumps(tenant)}:{written(asdict(terms))}" for tenant, terms in book.terms.items())
    text = f'{{"format":{FORMAT},"keys":{{\n{keys}\n}},"tenants":{{\n{tenants}\n}}}}\n'.encode()
    if len(text) > MAX_BOOK_BYTES:
        raise ValueError(f"keys and notes take more than {MAX_BOOK_BYTES} bytes")
    return text


def book_from_json(text: bytes) -> KeyBook:
    """Raises ValueError."""
    value = object_from(text, max_bytes=MAX_BOOK_BYTES, format_number=FORMAT, fields=_BOOK)
    keys, tenants = (_entries(name, value[name]) for name in ("keys", "tenants"))
    return KeyBook(
        {digest: _key_from(digest, entry) for digest, entry in keys.items()},
        {checked_tenant(tenant): _terms_from(entry) for tenant, entry in tenants.items()},
    )


def key_to_json(key: StoredKey) -> bytes:
    return written({"format": FORMAT, **_key(key)}).encode()


def key_from_json(digest: str, text: bytes) -> StoredKey:
    """Raises ValueError."""
    return _key_from(digest, _without_format(text, _KEY))


def terms_to_json(terms: TenantTerms) -> bytes:
    return written({"format": FORMAT, **asdict(terms)}).encode()


def terms_from_json(text: bytes) -> TenantTerms:
    """Raises ValueError."""
    return _terms_from(_without_format(text, _TERMS))


def _key(key: StoredKey) -> dict[str, Any]:
    return {"tenant": key.tenant, "note": key.note, "created_at": key.created_at}


def _key_from(digest: str, value: object) -> StoredKey:
    entry = _exactly(_KEY, value)
    tenant, note, created_at = entry["tenant"], entry["note"], entry["created_at"]
    if not isinstance(tenant, str) or not isinstance(note, str) or type(created_at) is not int:
        raise ValueError("a key's tenant and note must be text, its time a whole number")
    return StoredKey(digest, tenant, note, created_at)


def _terms_from(value: object) -> TenantTerms:
    entry = _exactly(_TERMS, value)
    return TenantTerms(**{**entry, "weight": Weight(entry["weight"])})


def _entries(what: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict) or len(value) > MAX_KEYS:
        raise ValueError(f"{what} must be an object of at most {MAX_KEYS} entries")
    return value


def _exactly(wanted: Set[str], value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != wanted:
        raise ValueError(f"an entry must have the fields {sorted(wanted)}")
    return value


def _without_format(text: bytes, wanted: Set[str]) -> Mapping[str, object]:
    value = object_from(text, max_bytes=MAX_ENTRY_BYTES, format_number=FORMAT, fields=wanted)
    del value["format"]
    return value
