"""The seam of what tenants have used: amounts by name, added up over all gateways that share a store.

Apart from the ledger of quotas (`gateway.ports.UsageLedger`), whose buckets leak: this is read by people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

Amounts = Mapping[str, float]
"""By name, each at least 0; counts are whole."""

DAY_S = 86_400
HOUR_S = 3_600
TENANT_TTL_S = 35 * DAY_S
"""A tenant of whom nobody tells for that long is forgotten, and counted from nothing when it comes again."""
APPLICATION_TTL_S = DAY_S
"""An application of which nobody tells for that long is listed no longer."""
MAX_TENANTS = 10_000
"""In open mode every key is a tenant. Beyond it the one least lately told of is forgotten."""
MAX_APPLICATIONS = 100
"""Of one tenant, likewise."""


@dataclass(frozen=True, slots=True)
class Used:
    """By one tenant, since a gateway last told of it."""

    amounts: Amounts = field(default_factory=dict)
    applications: Mapping[str, Amounts] = field(default_factory=dict)
    """By name: `calls` and `kv_token_time`."""


@dataclass(frozen=True, slots=True)
class UsedOverall:
    """By one tenant, through all gateways."""

    since: float | None
    """Unix seconds: from when on it was counted. None: it is not known."""
    total: Amounts = field(default_factory=dict)
    today: Amounts = field(default_factory=dict)
    """UTC, by the store's clock."""
    this_hour: Amounts = field(default_factory=dict)
    applications: Mapping[str, Amounts] = field(default_factory=dict)


class UsageSums(Protocol):
    """All raise `gateway.errors.StoreUnavailable` when the store cannot be reached in time."""

    async def add(self, gateway: str, sequence: int, used: Mapping[str, Used]) -> None:
        """By tenant. Atomic. A sequence number of this gateway that is not larger than its last one adds nothing: what
        may have been lost can be told again. Raises ValueError for amounts that cannot be."""
        ...

    async def read(self, tenant: str) -> UsedOverall: ...

    async def aclose(self) -> None: ...
