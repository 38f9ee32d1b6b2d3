"""Where keys are kept, and whom a gateway without any lets in: the rules that `serve` and `keys` share."""

import ipaddress

from gateway.key_watch import KeyWatch
from gateway.settings import Settings, TenantSettings
from gateway.stores.file_keys import FileKeys
from gateway.stores.key_book import KeyStore
from gateway.stores.redis_keys import RedisKeys

_SLOW_S = 10.0
"""No call waits for keys."""


def make_key_store(settings: Settings) -> KeyStore | None:
    """The file that was named, else the Redis there is, else a file of the user's own. None where there is none of
    them. Raises ValueError for an unusable Redis URL."""
    tenants, store = settings.tenants, settings.store
    if tenants.keys_file is None and store.redis_url is not None:
        return RedisKeys(store.redis_url, prefix=f"{{{store.prefix}}}", timeout_s=_SLOW_S)
    path = tenants.keys_file_in_use()
    return None if path is None else FileKeys(path)


def make_key_watch(settings: Settings) -> KeyWatch:
    """Raises ValueError for an unusable Redis URL."""
    tenants = settings.tenants
    return KeyWatch(
        make_key_store(settings) if tenants.stored_keys else None,
        tenants.api_keys,
        may_be_open=may_be_open(settings.server.host, tenants),
        interval_s=tenants.keys_poll_interval_s,
    )


def may_be_open(host: str, tenants: TenantSettings) -> bool:
    """While no keys exist. A file that was named is meant to hold some: one that is not there (yet) opens nothing."""
    if tenants.api_keys or (tenants.stored_keys and tenants.keys_file is not None):
        return False
    return is_loopback(host) if tenants.open is None else tenants.open


def why_not_open(host: str, tenants: TenantSettings, has_stored_keys: bool) -> str | None:
    """Why a gateway that listens on `host` must not start, in a line; None: it may. Nobody opens one to a network by
    forgetting keys; who said `open`, yes or no, has not forgotten."""
    has_keys = has_stored_keys or tenants.api_keys or (tenants.stored_keys and tenants.keys_file is not None)
    if has_keys or tenants.open is not None or is_loopback(host):
        return None
    return (
        f"there are no API keys and {host} may be reached from other machines: make a key "
        "(justitia keys create --tenant NAME), or say --open to let everybody in"
    )


def is_loopback(host: str) -> bool:
    """Only this machine reaches it. Any name but `localhost` may mean anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
