"""What tenants use and run, over all gateways of one process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from gateway.ports import TenantShare, TenantTotals

HEARTBEAT_S = 5.0
"""A gateway tells its running calls once a second; one that was silent for this long runs none."""

TTL_S = 7200
"""Of a tenant of whom nobody tells any more: two of the longest period that a quota is for."""


@dataclass(slots=True)
class _Tenant:
    at: float
    tokens: float = 0.0
    kv_token_time: float = 0.0
    running: dict[str, tuple[int, float]] = field(default_factory=dict)
    """(calls, until when that holds) by gateway."""


class MemoryUsage:
    """A `gateway.ports.UsageLedger`; `now` is seconds on a clock that does not go back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._tenants: dict[str, _Tenant] = {}
        self._sequences: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._tenants)

    async def exchange(
        self, gateway: str, sequence: int, shares: Mapping[str, TenantShare]
    ) -> Mapping[str, TenantTotals]:
        now = self._now()
        self._forget(now)
        for share in shares.values():
            checked_share(share)
        is_new = sequence > self._sequences.get(gateway, (-1, now))[0]
        self._sequences[gateway] = (max(sequence, self._sequences.get(gateway, (-1, now))[0]), now)
        return {tenant: self._add(gateway, tenant, share, now, is_new=is_new) for tenant, share in shares.items()}

    async def aclose(self) -> None:
        return None

    def _add(self, gateway: str, tenant: str, share: TenantShare, now: float, *, is_new: bool) -> TenantTotals:
        kept = self._tenants.setdefault(tenant, _Tenant(now))
        elapsed_s, kept.at = max(0.0, now - kept.at), max(now, kept.at)
        kept.tokens = max(0.0, kept.tokens - share.tokens_leak * elapsed_s)
        kept.kv_token_time = max(0.0, kept.kv_token_time - share.kv_token_time_leak * elapsed_s)
        if is_new:
            kept.tokens = max(0.0, kept.tokens + share.tokens)
            kept.kv_token_time = max(0.0, kept.kv_token_time + share.kv_token_time)
        kept.running[gateway] = (share.num_running, now + HEARTBEAT_S)
        kept.running = {other: told for other, told in kept.running.items() if told[1] > now}
        elsewhere = sum(num for other, (num, _) in kept.running.items() if other != gateway)
        return TenantTotals(kept.tokens, kept.kv_token_time, elsewhere)

    def _forget(self, now: float) -> None:
        self._tenants = {tenant: kept for tenant, kept in self._tenants.items() if kept.at + TTL_S > now}
        self._sequences = {gateway: kept for gateway, kept in self._sequences.items() if kept[1] + TTL_S > now}


def checked_share(share: TenantShare) -> tuple[float, float, float, float, int]:
    """Its numbers. Raises ValueError for what is not finite, or leaks or runs less than nothing."""
    numbers = (share.tokens, share.kv_token_time, share.tokens_leak, share.kv_token_time_leak)
    if not all(map(isfinite, numbers)) or min(share.tokens_leak, share.kv_token_time_leak, share.num_running) < 0:
        raise ValueError(f"not a share of a tenant's use: {share!r}")
    return (*numbers, share.num_running)
