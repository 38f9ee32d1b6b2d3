"""What calls use, against their tenants' quotas and into their tenants' books. Pure.

A quota is charged when a call has ended: tokens by its usage, KV token-time by formula at once and corrected when the
engine's own account of the call is there, so an engine that never tells leaves the formula in force.
"""

from gateway import errors
from gateway.fairness.units import KvTokenTime
from gateway.scheduling.accounts import Charge
from gateway.scheduling.estimates import Expected
from gateway.scheduling.model import Outcome, Usage
from gateway.scheduling.quotas import Quotas
from gateway.scheduling.tenant_room import TermsOf
from gateway.scheduling.tenant_usage import UsageBook


class Metering:
    def __init__(self, terms_of: TermsOf) -> None:
        self.quotas = Quotas(terms_of)
        self.book = UsageBook()
        self._by_formula: dict[str, KvTokenTime] = {}
        """Of calls that have ended and are not settled, of tenants with quotas."""

    def admit(self, call_id: str, tenant: str, expected: Expected, now: float) -> None:
        """Raises QuotaExceeded, with when such a call may come."""
        wait_s = self.quotas.wait_s(tenant, expected.tokens, expected.cost, now)
        if wait_s > 0:
            raise errors.QuotaExceeded("Your quota of tokens or of KV token-time is used up.", retry_after_s=wait_s)
        self.quotas.hold(call_id, tenant, expected.tokens, expected.cost, now)

    def call_ended(
        self,
        call_id: str,
        tenant: str,
        outcome: Outcome,
        usage: Usage | None,
        spent: Expected | None,
        now: float,
    ) -> None:
        """`spent`: as it looks now; None for a call that was never dispatched."""
        self.book.call_ended(tenant, outcome, usage, now)
        was_held = self.quotas.let_go(call_id)
        if was_held and spent is not None:
            self.quotas.charge(tenant, spent.tokens, spent.cost, now)
            self._by_formula[call_id] = spent.cost

    def charged(self, charge: Charge, now: float) -> None:
        """The engine's account of a call, or what stands for it."""
        tenant, _, application = charge.application_id.partition("/")
        by_formula = self._by_formula.pop(charge.call_id, 0.0) if charge.is_last else 0.0
        self.quotas.charge(tenant, 0.0, charge.service - by_formula, now)
        self.book.served(tenant, application, charge.service, now, is_last=charge.is_last)
