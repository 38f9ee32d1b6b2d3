"""What tenants may use over time: tokens a minute, KV token-time an hour. Pure.

A quota is a bucket that leaks: what is used fills it, and it empties at quota / period. A call may come when its
estimate still fits; one that is larger than the whole bucket, when it is empty. What a call has really used is charged
when it has ended and may overfill the bucket, which then takes the longer to leak. A bucket, and not a window of
counts, because one number a quota is all that gateways need to share, the moment of the next admission is exact, a
call larger than the quota pays for itself, and clients do not come back all at the edge of a window. Its price: who
was idle may use a whole quota at once, so over t periods at most (1 + t) quotas are used.

Calls that were admitted and have not ended hold their estimate, so a burst cannot overshoot by more than estimates
are wrong. What several gateways use is added up by a `UsageLedger` (`shares`, `learn`); in between each counts alone.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.identity.terms import TenantTerms
from gateway.ports import TenantShare, TenantTotals
from gateway.scheduling.tenant_room import TermsOf
from gateway.values import value

MINUTE_S = 60.0
HOUR_S = 3600.0

MAX_TENANTS = 10_000
"""With quotas and a use of them. Beyond it one without calls is forgotten, and its bucket is empty."""

_FORGETTING_LOOKS_AT = 64
"""Accounts, before another is kept all the same: those with calls are no more than calls are."""

_TRIFLE = 1e-9
"""Of a quota: what sums of floats leave behind."""


@dataclass(slots=True)
class _Bucket:
    level: float = 0.0
    at: float = 0.0
    held: float = 0.0
    """Estimates of calls that have not ended."""
    unsent: float = 0.0
    """Charged here, not yet told to the other gateways."""

    def leak(self, quota: float | None, period_s: float, now: float) -> None:
        if quota is None:
            self.level = self.unsent = 0.0
        elif now > self.at:
            self.level = max(0.0, self.level - quota / period_s * (now - self.at))
            # What has leaked need not be told, nor what corrects it: it is not there any more.
            self.unsent = min(self.unsent, self.level) if self.level > 0 else 0.0
        self.at = max(now, self.at)

    def charge(self, amount: float) -> None:
        self.level = max(0.0, self.level + amount)
        self.unsent += amount

    def wait_s(self, quota: float | None, period_s: float, amount: float, now: float) -> float:
        if quota is None:
            return 0.0
        self.leak(quota, period_s, now)
        over = self.level + self.held + min(amount, quota) - quota
        return over * period_s / quota if over > _TRIFLE * quota else 0.0


@dataclass(slots=True)
class _Account:
    tokens: _Bucket = field(default_factory=_Bucket)
    kv_token_time: _Bucket = field(default_factory=_Bucket)
    num_holds: int = 0

    @property
    def is_idle(self) -> bool:
        return not self.num_holds and all(
            bucket.level <= 0 and bucket.unsent == 0 for bucket in (self.tokens, self.kv_token_time)
        )

    def leak(self, terms: TenantTerms, now: float) -> None:
        self.tokens.leak(terms.tokens_per_minute, MINUTE_S, now)
        self.kv_token_time.leak(terms.kv_token_time_per_hour, HOUR_S, now)


@value
class _Hold:
    tenant: str
    tokens: float
    kv_token_time: float


class Quotas:
    """Times are Unix seconds on a clock that does not go back."""

    def __init__(self, terms_of: TermsOf, max_tenants: int = MAX_TENANTS) -> None:
        self._terms_of = terms_of
        self._max_tenants = max_tenants
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._holds: dict[str, _Hold] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def num_holds(self) -> int:
        return len(self._holds)

    # --- calls ------------------------------------------------------------------------------------------------------

    def wait_s(self, tenant: str, tokens: float, kv_token_time: float, now: float) -> float:
        """Until a call of about this size may come, by what is known now; 0: at once."""
        terms = self._terms_of(tenant)
        if not _has_quota(terms):
            return 0.0
        account = self._accounts.get(tenant) or _Account(_Bucket(at=now), _Bucket(at=now))
        return max(
            account.tokens.wait_s(terms.tokens_per_minute, MINUTE_S, tokens, now),
            account.kv_token_time.wait_s(terms.kv_token_time_per_hour, HOUR_S, kv_token_time, now),
        )

    def hold(self, call_id: str, tenant: str, tokens: float, kv_token_time: float, now: float) -> None:
        """It was admitted: until it is let go, it counts as it was estimated."""
        account = self._account(tenant, now)
        if account is not None:
            account.num_holds += 1
            account.tokens.held += tokens
            account.kv_token_time.held += kv_token_time
            self._holds[call_id] = _Hold(tenant, tokens, kv_token_time)

    def let_go(self, call_id: str) -> bool:
        """Whether it was held. What it has used is charged by itself."""
        hold = self._holds.pop(call_id, None)
        if hold is not None:
            account = self._accounts[hold.tenant]
            account.num_holds -= 1
            for bucket, amount in ((account.tokens, hold.tokens), (account.kv_token_time, hold.kv_token_time)):
                bucket.held = bucket.held - amount if account.num_holds else 0.0
        return hold is not None

    def charge(self, tenant: str, tokens: float, kv_token_time: float, now: float) -> None:
        """Used; less than 0 corrects what was charged by estimate."""
        account = self._account(tenant, now)
        if account is not None:
            terms = self._terms_of(tenant)
            account.leak(terms, now)
            if terms.tokens_per_minute is not None:
                account.tokens.charge(tokens)
            if terms.kv_token_time_per_hour is not None:
                account.kv_token_time.charge(kv_token_time)

    # --- other gateways ---------------------------------------------------------------------------------------------

    def shares(self, running: Mapping[str, int], now: float) -> dict[str, TenantShare]:
        """What to tell the ledger. It counts as told from here on: a share that did not arrive must be told again as
        it is, not asked for anew. `running`: calls of capped tenants."""
        self._drop_idle(now)
        shares = {tenant: TenantShare(num_running=num_running) for tenant, num_running in running.items()}
        for tenant in self._accounts:
            shares[tenant] = self._share(tenant, running.get(tenant, 0))
        return shares

    def learn(self, totals: Mapping[str, TenantTotals], now: float) -> None:
        """What all gateways together have used, these shares included; what was charged here since comes on top."""
        for tenant, total in totals.items():
            account = self._accounts.get(tenant)
            if account is not None:
                account.leak(self._terms_of(tenant), now)
                for bucket, level in ((account.tokens, total.tokens), (account.kv_token_time, total.kv_token_time)):
                    bucket.level, bucket.at = max(0.0, level + bucket.unsent), max(now, bucket.at)

    def _share(self, tenant: str, num_running: int) -> TenantShare:
        terms, account = self._terms_of(tenant), self._accounts[tenant]
        share = TenantShare(
            tokens=account.tokens.unsent,
            kv_token_time=account.kv_token_time.unsent,
            tokens_leak=(terms.tokens_per_minute or 0) / MINUTE_S,
            kv_token_time_leak=(terms.kv_token_time_per_hour or 0) / HOUR_S,
            num_running=num_running,
        )
        account.tokens.unsent = account.kv_token_time.unsent = 0.0
        return share

    # --- accounts ---------------------------------------------------------------------------------------------------

    def _account(self, tenant: str, now: float) -> _Account | None:
        """None for one without quotas."""
        if not _has_quota(self._terms_of(tenant)):
            return None
        account = self._accounts.get(tenant)
        if account is None:
            if len(self._accounts) >= self._max_tenants:
                self._forget_one()
            account = self._accounts[tenant] = _Account(_Bucket(at=now), _Bucket(at=now))
        return account

    def _forget_one(self) -> None:
        for _ in range(_FORGETTING_LOOKS_AT):
            tenant, account = next(iter(self._accounts.items()))
            if not account.num_holds:
                del self._accounts[tenant]
                return
            self._accounts.move_to_end(tenant)

    def _drop_idle(self, now: float) -> None:
        for tenant, account in list(self._accounts.items()):
            account.leak(self._terms_of(tenant), now)
            if account.is_idle:
                del self._accounts[tenant]


def _has_quota(terms: TenantTerms) -> bool:
    return terms.tokens_per_minute is not None or terms.kv_token_time_per_hour is not None
