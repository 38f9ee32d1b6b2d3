"""What the scripts of the state are made of, for each kind of shares: the same operations over another order."""

from typing import Final

from gateway.fairness.shares import SharesName
from gateway.fairness.tenant_clock import EXACT
from gateway.fairness.virtual_clock import MAX_COST
from gateway.stores.redis_connection import script_source

OPERATIONS: Final = (
    "arrive", "revise", "charge", "touch", "close", "expire", "get", "serve", "report", "restore", "mean_cost",
    "snapshot", "standings", "finish_times", "wipe",
)  # fmt: skip

_FIXED_KEYS = ("clock", "backlogged", "weights", "open", "last_seen", "kinds")
_ORDER: dict[SharesName, tuple[str, ...]] = {
    "application": ("application_shares",),
    "tenant": ("tenants", "tenant_shares"),
}


def fixed_keys(shares: SharesName) -> tuple[str, ...]:
    """Names under the prefix, in the order of the scripts' KEYS."""
    return (*_FIXED_KEYS, "owners") if shares == "tenant" else _FIXED_KEYS


def operation_source(operation: str, shares: SharesName) -> str:
    """One script: constants, the clock, the order of these shares, and the operation itself."""
    constants = f"'{shares}', {len(fixed_keys(shares))}, {MAX_COST!r}, {EXACT}"
    files = script_source("prelude", "clock", "shared_clock", *_ORDER[shares], "applications", operation)
    return f"local SHARES, NUM_FIXED, MAX_COST, EXACT = {constants}\n{files}"
