"""How fair the order is right now, in numbers that need no label for an application. Pure.

Three readings of the open applications, taken together about once a second:

*Spread of virtual start.* Over the backlogged (unfinished in GPS, or with calls here): how much service a unit of
weight has had between the arrival of the oldest and that of the youngest. Nobody stays backlogged in GPS for more than
its C / w = F − S, and nobody's calls for much more than that where the order is kept, so the spread stays near the
largest C / w there is. Where somebody starves it grows with every bit of service the others get. (Where tenants
have the shares S is V when an application came, and F − S covers what its tenant has put before it.)

*Lateness.* Of an application whose calls wait or run here although GPS has finished it: the service delivered, to
everybody, since that was first seen. It ends with the application's last call, begins anew with the calls of its next
stage, and is a reading's interval too small at most.

*The bound on it*, 2·M·D (docs/algorithm.md): M is the memory of the engines that answer, D the longest stay of a call
in iterations, for which the longest answer of the last quarter to half of an hour stands: a call yields a token an
iteration from the end of its prompt on. It holds for `justitia` with exact costs, for each stage of an application.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.fairness.shares import SharesName
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId
from gateway.identity.classes import TenantClasses
from gateway.ports import ApplicationRecord, Snapshot
from gateway.scheduling.describe import lag
from gateway.scheduling.tenant_room import TermsOf

STAY_REMEMBERED_S = 900.0
"""At least: an answer counts into its own quarter of an hour and the next."""


class LongestStay:
    """The longest answer of late, in tokens: that many iterations a call stays in an engine."""

    def __init__(self) -> None:
        self._quarter = 0
        self._this = 0
        self._last = 0

    def note(self, output_tokens: int, now: float) -> None:
        self._turn(now)
        self._this = max(self._this, output_tokens)

    def iterations(self, now: float) -> int:
        """0 before the first."""
        self._turn(now)
        return max(self._this, self._last)

    def _turn(self, now: float) -> None:
        quarter = int(now // STAY_REMEMBERED_S)
        if quarter > self._quarter:
            self._last = self._this if quarter == self._quarter + 1 else 0
            self._quarter, self._this = quarter, 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What engines have given since this gateway started, and what they hold."""

    service: float
    """token·iterations, to everybody."""
    capacity_kv_tokens: int
    """Of those that answer."""


@dataclass(frozen=True, slots=True)
class FairnessReading:
    """Largest of any open application, 0 where there is none. token·iterations, the first two per unit of weight."""

    virtual_start_spread: float
    virtual_cost: float
    """C / w = F − S of a backlogged one."""
    lag: float
    lateness: float
    lateness_bound: float
    weight_by_class: Mapping[str, float]
    """Units of weight of the backlogged, applications or tenants, whoever has the shares, by their tenants' class."""


class FairnessWatch:
    """Remembers one number for each application that is late now, of those in the last snapshot."""

    def __init__(self, classes: TenantClasses, terms_of: TermsOf, shares: SharesName) -> None:
        self.stay = LongestStay()
        self._shares = shares
        self._classes = classes
        self._terms_of = terms_of
        self._late_since: dict[ApplicationId, float] = {}
        """Service delivered when it was first seen to be late."""

    def look(
        self, snapshot: Snapshot, has_calls: Callable[[ApplicationId], bool], delivery: Delivery, now: float
    ) -> FairnessReading:
        """`has_calls`: waiting or running at this gateway."""
        clock = snapshot.virtual_time
        busy = {record.application_id for record in snapshot.applications if has_calls(record.application_id)}
        backlogged = [
            record
            for record in snapshot.applications
            if record.virtual_finish_time > clock or record.application_id in busy
        ]
        late = (record for record in backlogged if record.virtual_finish_time <= clock)
        self._late_since = {
            record.application_id: self._late_since.get(record.application_id, delivery.service) for record in late
        }
        starts = [record.virtual_start for record in backlogged]
        return FairnessReading(
            virtual_start_spread=max(starts, default=0.0) - min(starts, default=0.0),
            virtual_cost=max((r.virtual_finish_time - r.virtual_start for r in backlogged), default=0.0),
            lag=max((lag(record) for record in snapshot.applications), default=0.0),
            lateness=max((delivery.service - since for since in self._late_since.values()), default=0.0),
            lateness_bound=2.0 * delivery.capacity_kv_tokens * self.stay.iterations(now),
            weight_by_class=self._weights(backlogged),
        )

    def _weights(self, records: list[ApplicationRecord]) -> Mapping[str, float]:
        weights = dict.fromkeys(self._classes.names, 0.0)
        have_shares = [(record.tenant, record.weight) for record in records]
        if self._shares == "tenant":
            have_shares = [(tenant, self._terms_of(tenant).weight) for tenant in {record.tenant for record in records}]
        for tenant, weight in have_shares:
            weights[self._classes.of(self._terms_of(tenant).weight)] += weight / UNIT_WEIGHT
        return weights
