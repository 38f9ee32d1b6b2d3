"""What tenants use, told among gateways."""

from collections.abc import Mapping
from typing import Protocol

from gateway.values import value


@value
class TenantShare:
    """What one gateway has to tell of one tenant."""

    tokens: float = 0.0
    """Used since it last told; below 0 corrects an estimate."""
    kv_token_time: float = 0.0
    """token·iterations."""
    tokens_leak: float = 0.0
    """A second: the quota over its period. 0: nothing is forgotten of it but with the tenant's time to live."""
    kv_token_time_leak: float = 0.0
    num_running: int = 0
    """Calls of it that run at this gateway now."""


@value
class TenantTotals:
    """What all gateways together have told of one tenant."""

    tokens: float
    """What has not leaked yet."""
    kv_token_time: float
    running_elsewhere: int
    """At the other gateways that have told of it in the last few seconds."""


class UsageLedger(Protocol):
    """What tenants use, added up over all gateways that use the same ledger.

    Raises `gateway.errors.StoreUnavailable` when it cannot be reached in time.
    """

    async def exchange(
        self, gateway: str, sequence: int, shares: Mapping[str, TenantShare]
    ) -> Mapping[str, TenantTotals]:
        """Add these shares, of at most a few hundred tenants, and answer those tenants' totals. Atomic.

        A sequence number of this gateway that is not larger than its last one adds nothing: what may have been lost can
        be told again. Quotas leak by the ledger's own clock. Raises ValueError for numbers that cannot be."""
        ...

    async def aclose(self) -> None: ...
