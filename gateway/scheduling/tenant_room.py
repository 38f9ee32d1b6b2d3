"""How many calls each tenant has waiting and running here, and whether it may have another. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.scheduling.lanes import COMMON

TermsOf = Callable[[str], TenantTerms]
"""Asked anew whenever it matters: terms may change while calls wait."""


def no_limits(_: str) -> TenantTerms:
    return NO_LIMITS


@dataclass(slots=True)
class TenantCalls:
    waiting: int = 0
    running: int = 0


class TenantRoom:
    """Holds tenants with calls only, so it is bounded by the calls there are."""

    def __init__(self, terms_of: TermsOf = no_limits) -> None:
        self._terms_of = terms_of
        self._calls: dict[str, TenantCalls] = {}
        self.elsewhere: Mapping[str, int] = {}
        """Running calls of capped tenants at other gateways, as last told."""

    def lane_of(self, tenant: str) -> str:
        return COMMON if self._terms_of(tenant).max_running_calls is None else tenant

    def has_room(self, tenant: str) -> bool:
        """Whether another call of it may run."""
        cap = self._terms_of(tenant).max_running_calls
        if cap is None:
            return True
        calls = self._calls.get(tenant)
        return (calls.running if calls is not None else 0) + self.elsewhere.get(tenant, 0) < cap

    def has_too_many_waiting(self, tenant: str) -> bool:
        """One with calls here."""
        limit = self._terms_of(tenant).max_waiting_calls
        return limit is not None and self._calls[tenant].waiting > limit

    def running_of_capped(self) -> Iterator[tuple[str, int]]:
        """What other gateways need to know: those with calls here, running or about to."""
        for tenant, calls in self._calls.items():
            if self.lane_of(tenant) != COMMON:
                yield tenant, calls.running

    # --- what happens to a call ---

    def came(self, tenant: str) -> None:
        calls = self._calls.get(tenant)
        if calls is None:
            calls = self._calls[tenant] = TenantCalls()
        calls.waiting += 1

    def sent(self, tenant: str) -> None:
        calls = self._calls[tenant]
        calls.waiting -= 1
        calls.running += 1

    def left(self, tenant: str) -> None:
        """The queue, undispatched."""
        self._calls[tenant].waiting -= 1
        self._drop_if_idle(tenant)

    def ended(self, tenant: str) -> None:
        self._calls[tenant].running -= 1
        self._drop_if_idle(tenant)

    def _drop_if_idle(self, tenant: str) -> None:
        calls = self._calls[tenant]
        if not calls.waiting and not calls.running:
            del self._calls[tenant]
