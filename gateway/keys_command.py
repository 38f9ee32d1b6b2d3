"""`justitia keys`: who may use the gateway, and on what terms.

A key itself is printed once, when it is made, alone on stdout; all that is kept is its SHA-256.
Exit codes: 0 done, 1 the keys cannot be reached or read, 2 not possible as it was asked.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.errors import StoreUnavailable
from gateway.identity.tenants import key_digest
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.key_place import make_key_store
from gateway.settings import ImpossibleSetting, Settings, load_settings
from gateway.stores.key_book import KeyBook, KeyStore, StoredKey, UnknownKey, UnusableKeys, checked_tenant

KEY_PREFIX = "sk-justitia-"
"""Fit for the scanners that look for keys in what is published."""
_KEY_BYTES = 32

_EXAMPLE = """examples:
  KEY=$(justitia keys create --tenant alice)
  justitia keys create --tenant batch --weight 500 --max-running 8 --tokens-per-minute 100000 --note "night jobs"
  justitia keys terms batch --max-running none        lifts a limit; without flags: shows the terms
  justitia keys list --redis redis://127.0.0.1:6379/0
  justitia keys revoke 1a2b3c4d5e6f

Running gateways follow within seconds. Keys are kept where the gateway looks for them: in the file of
JUSTITIA_TENANTS__KEYS_FILE, else in the Redis of JUSTITIA_STORE__REDIS_URL, else in the user's state folder.
"""


class _Impossible(Exception):
    """As it was asked; one line."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "keys",
        help="make, list and revoke API keys; set a tenant's weight and limits",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="create|list|revoke|terms")
    create = commands.add_parser("create", help="make a key; it is shown once, on stdout")
    create.add_argument("--tenant", required=True, metavar="NAME", help="who pays; made with the first key")
    create.add_argument("--note", default="", help="what the key is for")
    _add_terms(create)
    create.set_defaults(ask=_create)
    listing = commands.add_parser("list", help="show keys by their ids, and the terms of their tenants")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(ask=_list)
    revoke = commands.add_parser("revoke", help="calls with this key are refused from now on; those running go on")
    revoke.add_argument("key", metavar="ID", help="as `list` shows it, or the key itself")
    revoke.set_defaults(ask=_revoke)
    terms = commands.add_parser("terms", help="show or change a tenant's weight and limits")
    terms.add_argument("tenant", metavar="TENANT")
    _add_terms(terms)
    terms.set_defaults(ask=_terms)
    for command in (create, listing, revoke, terms):
        place = command.add_mutually_exclusive_group()
        place.add_argument("--redis", metavar="URL", help="the gateways' Redis")
        place.add_argument("--keys-file", type=Path, metavar="FILE", help="the gateways' keys file")
        command.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
        command.set_defaults(run=run)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("terms of the tenant (`none` lifts a limit; those not named stay)").add_argument
    add("--weight", type=int, metavar="THOUSANDTHS", help="of its applications, or its own; 1000 is one share")
    add("--max-running", type=_or_none(int), metavar="CALLS", help="in engines at the same time; others wait")
    add("--max-waiting", type=_or_none(int), metavar="CALLS", help="in the queue; others are refused")
    add("--tokens-per-minute", type=_or_none(int), metavar="TOKENS", help="prompt and completion")
    add("--kv-token-time-per-hour", type=_or_none(float), metavar="COST", help="token-iterations, such as 1e9")


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def read_or_none(text: str) -> Any:
        return "none" if text == "none" else read(text)

    read_or_none.__name__ = "number or `none`"  # what argparse says it is not
    return read_or_none


def run(args: argparse.Namespace) -> int:
    try:
        settings = load_settings(os.environ, args.config, _flags(args))
        if args.redis is not None and settings.tenants.keys_file is not None:
            raise _Impossible("JUSTITIA_TENANTS__KEYS_FILE is set, and gateways look there, not in Redis")
        return asyncio.run(_asked(args, settings))
    except (ImpossibleSetting, _Impossible, ValueError) as error:
        return _complain(str(error), 2)
    except (StoreUnavailable, UnusableKeys) as error:
        return _complain(str(error), 1)


def _flags(args: argparse.Namespace) -> dict[str, dict[str, object]]:
    if args.redis is not None:
        return {"store": {"redis_url": args.redis}}
    return {} if args.keys_file is None else {"tenants": {"keys_file": args.keys_file}}


async def _asked(args: argparse.Namespace, settings: Settings) -> int:
    store = make_key_store(settings)
    if store is None:
        raise _Impossible("there is no home folder to keep keys in: say --keys-file FILE or --redis URL")
    try:
        if (exposure := await store.exposure()) is not None:
            _tell(exposure)
        await args.ask(args, store)
    finally:
        await store.aclose()
    return 0


# --- the commands ---------------------------------------------------------------------------------------------------


async def _create(args: argparse.Namespace, store: KeyStore) -> None:
    tenant = checked_tenant(args.tenant)
    api_key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    key = StoredKey(key_digest(api_key), tenant, args.note, int(time.time()))
    before: KeyBook = KeyBook()

    def with_key(book: KeyBook) -> KeyBook:
        nonlocal before
        before = book
        return book.with_key(key).with_terms(tenant, _changed(book.terms.get(tenant, NO_LIMITS), args))

    after = await store.change(with_key)
    _tell(f"key {key.key_id} of tenant {tenant}, kept in {store.place}; it is shown this once")
    _tell_terms(tenant, before, after)
    if args.keys_file is not None:
        _tell(f"for gateways with JUSTITIA_TENANTS__KEYS_FILE={args.keys_file}")
    print(api_key)


async def _revoke(args: argparse.Namespace, store: KeyStore) -> None:
    is_secret = args.key.startswith("sk-")
    revoked: StoredKey | None = None
    key_id = StoredKey(key_digest(args.key), "x", "", 0).key_id if is_secret else args.key

    def without_key(book: KeyBook) -> KeyBook:
        nonlocal revoked
        revoked = book.named(key_id)
        return book.without(key_id)

    try:
        after = await store.change(without_key)
    except UnknownKey:
        raise _Impossible("this key is not known" if is_secret else f"no key has the id {args.key!r:.80}") from None
    assert revoked is not None
    left = sum(key.tenant == revoked.tenant for key in after.keys.values())
    _tell(f"key {key_id} of tenant {revoked.tenant} is revoked; {left} of the tenant's keys are left")
    if not after.keys:
        _tell("no keys are left: nobody gets in by one of these until a new one is made")


async def _terms(args: argparse.Namespace, store: KeyStore) -> None:
    tenant = checked_tenant(args.tenant)
    book = await store.read() or KeyBook()
    if _changed(NO_LIMITS, args) is not NO_LIMITS:
        before = book

        def with_terms(book: KeyBook) -> KeyBook:
            nonlocal before
            before = book
            return book.with_terms(tenant, _changed(book.terms.get(tenant, NO_LIMITS), args))

        book = await store.change(with_terms)
        _tell_terms(tenant, before, book)
    elif tenant not in book.terms:
        raise _Impossible(f"there is no tenant {tenant} in {store.place}")
    print(f"{tenant}: {_in_words(book.terms[tenant])}")


async def _list(args: argparse.Namespace, store: KeyStore) -> None:
    book = await store.read() or KeyBook()
    keys = sorted(book.keys.values(), key=lambda key: (key.tenant, key.created_at, key.digest))
    if args.json:
        _print_json(keys, book.terms)
        return
    if not keys:
        _tell(f"there are no keys in {store.place}")
    rows = [("ID", "CREATED", "TENANT", "TERMS", "NOTE")]
    for key in keys:
        created = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        rows.append((key.key_id, created, key.tenant, _in_words(book.terms.get(key.tenant, NO_LIMITS)), key.note))
    idle = sorted(book.terms.keys() - {key.tenant for key in keys})
    rows += [("no key", "", tenant, _in_words(book.terms[tenant]), "") for tenant in idle]
    if len(rows) > 1:
        _print_table(rows)


# --- terms ----------------------------------------------------------------------------------------------------------


def _changed(terms: TenantTerms, args: argparse.Namespace) -> TenantTerms:
    """The same ones if no flag was given. Raises ValueError."""
    given = {
        "weight": args.weight,
        "max_running_calls": args.max_running,
        "max_waiting_calls": args.max_waiting,
        "tokens_per_minute": args.tokens_per_minute,
        "kv_token_time_per_hour": args.kv_token_time_per_hour,
    }
    changes: dict[str, Any] = {
        name: None if value == "none" else value for name, value in given.items() if value is not None
    }
    return replace(terms, **changes) if changes else terms


def _tell_terms(tenant: str, before: KeyBook, after: KeyBook) -> None:
    if before == KeyBook():
        _tell("from now on gateways that look there let nobody in without a key")
    old, new = before.terms.get(tenant), after.terms[tenant]
    if old is not None and old != new:
        _tell(f"terms of tenant {tenant}, all its keys: {_in_words(new)} (was: {_in_words(old)})")
    else:
        _tell(f"terms of tenant {tenant}: {_in_words(new)}")


def _in_words(terms: TenantTerms) -> str:
    limits = {
        "running": terms.max_running_calls,
        "waiting": terms.max_waiting_calls,
        "tokens/min": terms.tokens_per_minute,
        "KV token-time/h": terms.kv_token_time_per_hour,
    }
    named = [
        f"{limit:g} {name}" if isinstance(limit, float) else f"{limit} {name}"
        for name, limit in limits.items()
        if limit is not None
    ]
    return f"weight {terms.weight}, " + (", ".join(named) or "no limits")


def _print_json(keys: Sequence[StoredKey], terms: Mapping[str, TenantTerms]) -> None:
    shown = [{"id": key.key_id, "tenant": key.tenant, "note": key.note, "created_at": key.created_at} for key in keys]
    tenants = {tenant: asdict(terms[tenant]) for tenant in sorted(terms)}
    print(json.dumps({"keys": shown, "tenants": tenants}, indent=2))


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _complain(message: str, code: int) -> int:
    _tell(f"justitia keys: {message}")
    return code
