"""What each tenant has used, to be read: calls by how they ended, tokens, KV token-time. Pure.

Counted in this gateway since it started, with today's and this hour's share (UTC) beside the whole, and what its latest
applications have used. Where gateways share sums (`gateway.usage_sums`), what is new goes there and is read there.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.scheduling.model import Outcome, Usage
from gateway.usage_sums import DAY_S, HOUR_S, MAX_APPLICATIONS, MAX_TENANTS, Amounts, Used, UsedOverall
from gateway.values import value

_DAY_HOURS = round(DAY_S / HOUR_S)

_CALLS = "calls."
"""And then the outcome."""


@value
class UsageTotals:
    calls: Mapping[Outcome, int]
    """Outcomes that have not occurred are left out."""
    prompt_tokens: Tokens
    """As the engines counted them; of a call that broke off nothing is known."""
    completion_tokens: Tokens
    kv_token_time: KvTokenTime
    """token·iterations, of settled calls."""


@value
class ApplicationUsage:
    calls: int
    """Settled."""
    kv_token_time: KvTokenTime


@value
class TenantUsage:
    tenant: str
    since: float
    """Unix seconds: from when on it was counted, which is the first call that is remembered."""
    total: UsageTotals
    today: UsageTotals
    this_hour: UsageTotals
    applications: Mapping[str, ApplicationUsage] = field(default_factory=dict)
    """By name, of the latest."""
    is_of_all_gateways: bool = False


@dataclass(slots=True)
class _Tally:
    since: float
    hour: int
    """Its number, of all since 1970."""
    total: dict[str, float] = field(default_factory=dict)
    today: dict[str, float] = field(default_factory=dict)
    this_hour: dict[str, float] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    """In none of the three yet: every call adds here, and few hours end or are read."""
    applications: OrderedDict[str, dict[str, float]] = field(default_factory=OrderedDict)
    """Least lately used first."""

    def sums(self, now: float) -> dict[str, float]:
        """Where to add what is used now."""
        if int(now // HOUR_S) != self.hour:
            self.spans(now)
        return self.latest

    def spans(self, now: float) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Total, today, this hour."""
        for span in (self.total, self.today, self.this_hour):
            _add(span, self.latest)
        self.latest.clear()
        hour = int(now // HOUR_S)
        if hour != self.hour:
            self.this_hour = {}
        if hour // _DAY_HOURS != self.hour // _DAY_HOURS:
            self.today = {}
        self.hour = hour
        return self.total, self.today, self.this_hour


@dataclass(slots=True)
class _News:
    """What a tenant has used and nobody else knows."""

    amounts: dict[str, float] = field(default_factory=dict)
    applications: OrderedDict[str, dict[str, float]] = field(default_factory=OrderedDict)


class UsageBook:
    """Times are Unix seconds."""

    def __init__(self, max_tenants: int = MAX_TENANTS) -> None:
        self._max_tenants = max_tenants
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()
        """Least lately used first."""
        self._news: OrderedDict[str, _News] | None = None
        """In the same order. None: nobody wants to know."""

    def __len__(self) -> int:
        return len(self._tallies)

    def keep_news(self) -> None:
        """From now on, for whoever takes it with `news`."""
        self._news = OrderedDict()

    def call_ended(self, tenant: str, outcome: Outcome, usage: Usage | None, now: float) -> None:
        amounts = {f"{_CALLS}{outcome}": 1.0}
        if usage is not None:
            amounts |= {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
        for sums in self._sums(tenant, now):
            _add(sums, amounts)

    def served(self, tenant: str, application: str, service: KvTokenTime, now: float, *, is_last: bool) -> None:
        """`is_last`: with this, a call of the application is settled."""
        for sums in self._sums(tenant, now):
            _add(sums, {"kv_token_time": service})
        amounts = {"calls": float(is_last), "kv_token_time": service}
        for applications in self._applications(tenant):
            if application not in applications and len(applications) >= MAX_APPLICATIONS:
                applications.popitem(last=False)
            applications.setdefault(application, {})
            applications.move_to_end(application)
            _add(applications[application], amounts)

    # --- to be read -------------------------------------------------------------------------------------------------

    def read(self, tenant: str, now: float) -> TenantUsage:
        """All zero for one that is not known."""
        tally = self._tallies.get(tenant) or _Tally(now, int(now // HOUR_S))
        total, today, this_hour = map(_totals, tally.spans(now))
        return TenantUsage(tenant, tally.since, total, today, this_hour, _by_name(tally.applications))

    def read_with(self, overall: UsedOverall, tenant: str, now: float) -> TenantUsage:
        """What all gateways have told, and what is news here."""
        news = _News() if self._news is None else self._news.get(tenant, _News())
        spans = [dict(span) for span in (overall.total, overall.today, overall.this_hour)]
        for span in spans:
            _add(span, news.amounts)
        applications = {name: dict(amounts) for name, amounts in overall.applications.items()}
        for name, amounts in news.applications.items():
            _add(applications.setdefault(name, {}), amounts)
        since = now if overall.since is None else overall.since
        total, today, this_hour = map(_totals, spans)
        return TenantUsage(tenant, since, total, today, this_hour, _by_name(applications), is_of_all_gateways=True)

    def news(self) -> dict[str, Used]:
        """By tenant. It counts as told from here on: what did not arrive must be told again as it is."""
        if self._news is None:
            return {}
        news, self._news = self._news, OrderedDict()
        return {tenant: Used(one.amounts, one.applications) for tenant, one in news.items()}

    # --- where it is added up ---------------------------------------------------------------------------------------

    def _sums(self, tenant: str, now: float) -> Iterator[dict[str, float]]:
        tally = self._tallies.get(tenant)
        if tally is None:
            tally = self._tallies[tenant] = _Tally(now, int(now // HOUR_S))
            self._bound(self._tallies)
        self._tallies.move_to_end(tenant)
        yield tally.sums(now)
        if self._news is not None:
            if tenant not in self._news:
                self._news[tenant] = _News()
                self._bound(self._news)
            yield self._news[tenant].amounts

    def _applications(self, tenant: str) -> Iterator[OrderedDict[str, dict[str, float]]]:
        """Of a tenant whose sums were just added to."""
        yield self._tallies[tenant].applications
        if self._news is not None:
            yield self._news[tenant].applications

    def _bound(self, by_tenant: OrderedDict[str, _Tally] | OrderedDict[str, _News]) -> None:
        if len(by_tenant) > self._max_tenants:
            by_tenant.popitem(last=False)


def _add(sums: dict[str, float], amounts: Amounts) -> None:
    for name, amount in amounts.items():
        sums[name] = sums.get(name, 0.0) + amount


def _totals(amounts: Amounts) -> UsageTotals:
    calls = {outcome: int(amounts.get(f"{_CALLS}{outcome}", 0)) for outcome in Outcome}
    return UsageTotals(
        {outcome: count for outcome, count in calls.items() if count},
        Tokens(int(amounts.get("prompt_tokens", 0))),
        Tokens(int(amounts.get("completion_tokens", 0))),
        KvTokenTime(amounts.get("kv_token_time", 0.0)),
    )


def _by_name(applications: Mapping[str, Amounts]) -> dict[str, ApplicationUsage]:
    return {
        name: ApplicationUsage(int(amounts.get("calls", 0)), KvTokenTime(amounts.get("kv_token_time", 0.0)))
        for name, amounts in applications.items()
    }
