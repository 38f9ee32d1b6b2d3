"""What each tenant has used, to be read: calls by how they ended, tokens, KV token-time. Pure.

Counted in this gateway since it started, with today's and this hour's share (UTC) beside the whole.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.scheduling.model import Outcome, Usage

MAX_TENANTS = 10_000
"""In open mode every key is a tenant. Beyond it the one least lately used is forgotten."""

DAY_S = 86_400
HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class UsageTotals:
    calls: Mapping[Outcome, int]
    """Outcomes that have not occurred are left out."""
    prompt_tokens: Tokens
    """As the engines counted them; of a call that broke off nothing is known."""
    completion_tokens: Tokens
    kv_token_time: KvTokenTime
    """token·iterations, of settled calls."""


@dataclass(frozen=True, slots=True)
class TenantUsage:
    tenant: str
    since: float
    """Unix seconds: from when on it was counted, the gateway's start or the first call that is remembered."""
    total: UsageTotals
    today: UsageTotals
    this_hour: UsageTotals


@dataclass(slots=True)
class _Span:
    """A day or an hour by its number, or (number 0) all of the time."""

    number: int = 0
    calls: dict[Outcome, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kv_token_time: float = 0.0

    def totals(self) -> UsageTotals:
        return UsageTotals(
            dict(self.calls),
            Tokens(self.prompt_tokens),
            Tokens(self.completion_tokens),
            KvTokenTime(self.kv_token_time),
        )


@dataclass(slots=True)
class _Tally:
    since: float
    total: _Span = field(default_factory=_Span)
    today: _Span = field(default_factory=_Span)
    this_hour: _Span = field(default_factory=_Span)

    def spans(self, now: float) -> tuple[_Span, _Span, _Span]:
        day, hour = int(now // DAY_S), int(now // HOUR_S)
        if self.today.number != day:
            self.today = _Span(day)
        if self.this_hour.number != hour:
            self.this_hour = _Span(hour)
        return self.total, self.today, self.this_hour


class UsageBook:
    """Times are Unix seconds."""

    def __init__(self, max_tenants: int = MAX_TENANTS) -> None:
        self._max_tenants = max_tenants
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()
        """Least lately used first."""

    def __len__(self) -> int:
        return len(self._tallies)

    def call_ended(self, tenant: str, outcome: Outcome, usage: Usage | None, now: float) -> None:
        for span in self._spans(tenant, now):
            span.calls[outcome] = span.calls.get(outcome, 0) + 1
            if usage is not None:
                span.prompt_tokens += usage.prompt_tokens
                span.completion_tokens += usage.completion_tokens

    def served(self, tenant: str, service: KvTokenTime, now: float) -> None:
        for span in self._spans(tenant, now):
            span.kv_token_time += service

    def read(self, tenant: str, now: float) -> TenantUsage:
        """All zero for one that is not known."""
        tally = self._tallies.get(tenant) or _Tally(now)
        total, today, this_hour = (span.totals() for span in tally.spans(now))
        return TenantUsage(tenant, tally.since, total, today, this_hour)

    def _spans(self, tenant: str, now: float) -> tuple[_Span, _Span, _Span]:
        tally = self._tallies.get(tenant)
        if tally is None:
            if len(self._tallies) >= self._max_tenants:
                self._tallies.popitem(last=False)
            tally = self._tallies[tenant] = _Tally(now)
        self._tallies.move_to_end(tenant)
        return tally.spans(now)
