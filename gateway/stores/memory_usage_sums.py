"""What tenants have used, over all gateways of one process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from gateway.usage_sums import (
    APPLICATION_TTL_S,
    DAY_S,
    HOUR_S,
    MAX_APPLICATIONS,
    MAX_TENANTS,
    TENANT_TTL_S,
    Amounts,
    Used,
    UsedOverall,
)

CALLS = "calls"
SERVICE = "kv_token_time"


@dataclass(slots=True)
class _Tenant:
    since: float
    at: float
    spans: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    applications: dict[str, tuple[float, dict[str, float]]] = field(default_factory=dict)


class MemoryUsageSums:
    """A `gateway.usage_sums.UsageSums`; `now` is Unix seconds on a clock that does not go back."""

    def __init__(self, now: Callable[[], float], max_tenants: int = MAX_TENANTS) -> None:
        self._now = now
        self._max_tenants = max_tenants
        self._tenants: dict[str, _Tenant] = {}
        """Least lately told of first."""
        self._sequences: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tenants)

    async def add(self, gateway: str, sequence: int, used: Mapping[str, Used]) -> None:
        for one in used.values():
            checked_used(one)
        if sequence <= self._sequences.get(gateway, -1):
            return
        self._sequences[gateway] = sequence
        now = self._now()
        for tenant, one in used.items():
            self._add(tenant, one, now)
        self._tenants = {tenant: kept for tenant, kept in self._tenants.items() if kept.at + TENANT_TTL_S > now}
        for tenant in list(self._tenants)[: -self._max_tenants]:
            del self._tenants[tenant]

    async def read(self, tenant: str) -> UsedOverall:
        kept, now = self._tenants.get(tenant), self._now()
        if kept is None or kept.at + TENANT_TTL_S <= now:
            return UsedOverall(None)
        total, today, this_hour = (kept.spans.get(span, {}) for span in _spans(now))
        recent = {name: dict(one) for name, (at, one) in kept.applications.items() if at + APPLICATION_TTL_S > now}
        return UsedOverall(kept.since, dict(total), dict(today), dict(this_hour), recent)

    async def aclose(self) -> None:
        return None

    def _add(self, tenant: str, used: Used, now: float) -> None:
        kept = self._tenants.pop(tenant, None) or _Tenant(now, now)
        self._tenants[tenant] = kept
        kept.at = now
        kept.spans = {span: kept.spans.get(span, {}) for span in _spans(now)}
        for sums in kept.spans.values():
            _add_amounts(sums, used.amounts)
        for name, amounts in used.applications.items():
            _, sums = kept.applications.pop(name, (now, {CALLS: 0.0, SERVICE: 0.0}))
            _add_amounts(sums, amounts)
            kept.applications[name] = now, sums
        oldest_first = sorted(kept.applications, key=lambda name: (kept.applications[name][0], name))
        for name in oldest_first[:-MAX_APPLICATIONS]:
            del kept.applications[name]


def checked_used(used: Used) -> Used:
    """Raises ValueError for what is not finite, or less than nothing."""
    for amounts in (used.amounts, *used.applications.values()):
        if not all(isfinite(amount) and amount >= 0 for amount in amounts.values()):
            raise ValueError(f"not an amount that can have been used: {dict(amounts)!r}")
    return used


def _spans(now: float) -> tuple[tuple[str, int], tuple[str, int], tuple[str, int]]:
    return ("total", 0), ("day", int(now // DAY_S)), ("hour", int(now // HOUR_S))


def _add_amounts(sums: dict[str, float], amounts: Amounts) -> None:
    for name, amount in amounts.items():
        sums[name] = sums.get(name, 0.0) + amount
