"""Shares of two levels: a tenant has one, however many applications it hands in.

With a share for each application, a job that is cut into k has k of them. Here it is the tenant that has a place on the
virtual clock, as if all it hands in were one application, whose cost grows with everything that is added; and what is
in it is served one after the other. So an application's finish time is where V has paid for it and for all before it:

    F_i = S + (done + what is left of those up to and with i - paid) / W

    S, W      the tenant's virtual start and its weight
    done      what the tenant's applications have had
    paid      what had been handed in before S: the share until then was for that, and is not saved up
    up to i   of its open applications, in order of f

Who is before whom within the tenant says a virtual clock of its own, which is moved by what the tenant is served:
f = s + c / w, as among all applications where these have the shares.

To others it does not matter what a tenant does: into how many pieces it cuts a job, or in which order they come, its
share until V pays for no more of its work. Hence a delay bound among tenants (docs/algorithm.md). Within the tenant,
whatever comes before i, or costs more than was thought, makes F_i later; so whoever goes by finish times asks for them
anew (`finish_times`).

With one application for each tenant it is `VirtualClock`; with one tenant for all it has its order. Costs count in
whole token·iterations, so that sums are exact below 2^53 in any order. Time: O(log n) an event, and O(n) in memory
moved, for n open applications of the tenant; a finish time looks at `EXACT` of them at most.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import accumulate, islice
from math import floor
from operator import itemgetter

from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.fairness.virtual_clock import MAX_COST, UnknownApplication, VirtualClock, check_cost, check_weight

EXACT = 128
"""So many of a tenant's applications, the first in its order, have the F above. Behind them what is left is taken to be
spread evenly, since to add it up would take too long; it is found as those before them leave."""


@dataclass(slots=True)
class _Part:
    """An open application, as a part of what its tenant has handed in. Costs are whole."""

    weight: Weight
    arrived_at: VirtualTime
    left: float
    """Of what it is thought to cost."""
    service: float = 0.0


@dataclass(slots=True)
class _Tenant:
    """Known while it has open applications."""

    flow: ApplicationId
    """Its name, on the clock of tenants."""
    weight: Weight
    clock: VirtualClock = field(default_factory=VirtualClock)
    """Of its applications among themselves."""
    parts: dict[ApplicationId, _Part] = field(default_factory=dict)
    order: list[tuple[VirtualTime, ApplicationId]] = field(default_factory=list)
    """(f, id) of the parts, sorted."""
    handed_in: float = 0.0
    """In all: what is done, and what is left of its open applications."""
    done: float = 0.0
    paid: float = 0.0

    def add(self, application_id: ApplicationId, part: _Part) -> None:
        f = self.clock.arrive(application_id, KvTokenTime(part.left), part.weight)
        self.parts[application_id] = part
        insort(self.order, (f, application_id))
        self.handed_in += part.left

    def change(self, application_id: ApplicationId, cost: KvTokenTime, service: KvTokenTime) -> None:
        part = self.parts[application_id]
        served, left = service - part.service, max(0.0, cost - service)
        self.done += served
        self.handed_in += served + left - part.left
        part.service, part.left = service, left
        self._take_out(application_id)
        f = self.clock.revise(application_id, KvTokenTime(service + left))
        insort(self.order, (f, application_id))
        self.clock.serve(KvTokenTime(max(0.0, served)))

    def remove(self, application_id: ApplicationId) -> None:
        """What was left of it counts as done."""
        self._take_out(application_id)
        self.done += self.parts.pop(application_id).left
        self.clock.close(application_id)

    def works(self) -> "_Works":
        first = (self.parts[application_id].left for _, application_id in islice(self.order, EXACT))
        sums = list(accumulate(first, initial=self.done))[1:]
        left = self.handed_in - sums[-1] if sums else 0.0
        return _Works(sums, max(0.0, left) / max(1, len(self.order) - EXACT))

    def place_of(self, application_id: ApplicationId) -> int:
        """In its order, from 0."""
        return bisect_left(self.order, (self.clock.finish_time(application_id), application_id))

    def _take_out(self, application_id: ApplicationId) -> None:
        del self.order[self.place_of(application_id)]


@dataclass(frozen=True, slots=True)
class _Works:
    """Of a tenant: what is done, and left of its applications up to and with each."""

    sums: list[float]
    """Of the first."""
    each: float
    """That every further one adds."""

    def until(self, place: int) -> float:
        return self.sums[place] if place < EXACT else self.sums[-1] + self.each * (place + 1 - EXACT)


class TenantClock:
    """Open applications of tenants: who finishes when, and how far virtual time has come."""

    def __init__(self) -> None:
        self._clock = VirtualClock()
        """Of the tenants."""
        self._tenants: dict[str, _Tenant] = {}
        self._tenant_of: dict[ApplicationId, _Tenant] = {}

    # --- readings ---------------------------------------------------------------------------------------------------

    @property
    def virtual_time(self) -> VirtualTime:
        return self._clock.virtual_time

    @property
    def weight_sum(self) -> int:
        """Sum of the weights of the tenants that GPS has not served in full, in thousandths."""
        return self._clock.weight_sum

    def __len__(self) -> int:
        """Open applications."""
        return len(self._tenant_of)

    def is_open(self, application_id: ApplicationId) -> bool:
        return application_id in self._tenant_of

    def start_time(self, application_id: ApplicationId) -> VirtualTime:
        """V when it arrived."""
        return self._known(application_id).parts[application_id].arrived_at

    def finish_time(self, application_id: ApplicationId) -> VirtualTime:
        """F as it stands now."""
        self._known(application_id)
        return self.finish_times([application_id])[application_id]

    def finish_times(self, application_ids: Iterable[ApplicationId]) -> dict[ApplicationId, VirtualTime]:
        """Of all of these at once. Those that are not open are left out."""
        found = {}
        for tenant, ids in self._by_tenant(application_ids):
            finish_at = self._finishes(tenant)
            for place, application_id in sorted((tenant.place_of(one), one) for one in ids):
                found[application_id] = finish_at(place)
        return found

    def first(self, limit: int) -> list[tuple[VirtualTime, ApplicationId]]:
        """(F, id) of the open applications, so many of them, in this order."""
        return _first((self._listed(tenant, 0) for tenant in self._tenants.values()), limit)

    def backlogged(self, limit: int | None = None) -> list[ApplicationId]:
        """Open applications with F > V, in order of (F, id), so many of them."""
        ahead = []
        for tenant in self._tenants.values():
            places = range(len(tenant.order))
            begins = bisect_right(places, self.virtual_time, key=self._finishes(tenant))
            ahead.append(self._listed(tenant, begins))
        return [application_id for _, application_id in _first(ahead, len(self) if limit is None else limit)]

    def dues(self, application_ids: Iterable[ApplicationId]) -> dict[ApplicationId, KvTokenTime]:
        """What each would have had by now if its tenant had been served as in GPS, all before it first; what it has
        had, if that is more. Those that are not open are left out."""
        found = {}
        for tenant, ids in self._by_tenant(application_ids):
            works = tenant.works()
            start, finish = self._clock.start_time(tenant.flow), self._clock.finish_time(tenant.flow)
            reached = tenant.paid + (min(self.virtual_time, finish) - start) * tenant.weight / 1000
            for application_id in ids:
                part = tenant.parts[application_id]
                beyond = reached - (works.until(tenant.place_of(application_id)) - part.left)
                found[application_id] = KvTokenTime(part.service + min(max(beyond, 0.0), part.left))
        return found

    # --- events -----------------------------------------------------------------------------------------------------

    def arrive(
        self,
        application_id: ApplicationId,
        cost: KvTokenTime,
        weight: Weight = UNIT_WEIGHT,
        *,
        tenant: str,
        tenant_weight: Weight = UNIT_WEIGHT,
    ) -> VirtualTime:
        """Open an application and answer its F. For one that is open already: its F, and nothing changes.

        The tenant has the weight that was given last. Raises ValueError for an id that another tenant has open.
        """
        known = self._tenant_of.get(application_id)
        if known is not None:
            if known.flow != tenant:
                raise ValueError(f"application {application_id!r} is open for tenant {known.flow!r}, not {tenant!r}")
            return self.finish_time(application_id)
        check_cost(cost)
        check_weight(weight)
        check_weight(tenant_weight)
        part = _Part(weight, self.virtual_time, left=_whole(cost))
        owner = self._tenants.get(tenant)
        if owner is None:
            owner = self._tenants[tenant] = _Tenant(ApplicationId(tenant), tenant_weight)
            self._begin(owner, tenant_weight)
        elif owner.weight != tenant_weight or not self._clock.is_backlogged(owner.flow):
            self._begin(owner, tenant_weight)
        self._tenant_of[application_id] = owner
        owner.add(application_id, part)
        self._place(owner)
        return self.finish_time(application_id)

    def serve(self, service: KvTokenTime) -> VirtualTime:
        """Advance V by service delivered to everybody (token·iterations) and answer it."""
        return self._clock.serve(service)

    def update(self, application_id: ApplicationId, cost: KvTokenTime, service: KvTokenTime) -> VirtualTime:
        """What it is thought to cost in all, and what it has had so far. Answers its F."""
        check_cost(cost)
        check_cost(service)
        tenant = self._known(application_id)
        tenant.change(application_id, _whole(cost), _whole(service))
        self._place(tenant)
        return self.finish_time(application_id)

    def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> VirtualTime:
        """It is finished, and has cost what it was thought to if no cost is given. Answers its last F."""
        tenant = self._known(application_id)
        if cost is not None:
            self.update(application_id, cost, cost)
        finish_time = self.finish_time(application_id)
        tenant.remove(application_id)
        del self._tenant_of[application_id]
        if not tenant.parts:
            # What GPS has still to serve it stays on the clock, and is where it begins when it comes back.
            self._clock.close(tenant.flow)
            del self._tenants[tenant.flow]
        return finish_time

    def restore(self, virtual_time: VirtualTime) -> VirtualTime:
        """Raise V to at least this reading."""
        return self._clock.restore(virtual_time)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _known(self, application_id: ApplicationId) -> _Tenant:
        tenant = self._tenant_of.get(application_id)
        if tenant is None:
            raise UnknownApplication(application_id)
        return tenant

    def _by_tenant(self, application_ids: Iterable[ApplicationId]) -> Iterator[tuple[_Tenant, list[ApplicationId]]]:
        by_tenant: dict[ApplicationId, list[ApplicationId]] = {}
        for application_id in application_ids:
            tenant = self._tenant_of.get(application_id)
            if tenant is not None:
                by_tenant.setdefault(tenant.flow, []).append(application_id)
        return ((self._tenants[flow], ids) for flow, ids in by_tenant.items())

    def _finishes(self, tenant: _Tenant) -> Callable[[int], VirtualTime]:
        """F by place in the tenant's order, along which it never falls. Not below zero, where a weight that has become
        smaller would put what is long due."""
        works, start = tenant.works(), self._clock.start_time(tenant.flow)

        def finish_at(place: int) -> VirtualTime:
            return VirtualTime(max(0.0, start + (works.until(place) - tenant.paid) * 1000 / tenant.weight))

        return finish_at

    def _listed(self, tenant: _Tenant, begins: int) -> Iterator[tuple[VirtualTime, ApplicationId]]:
        """(F, id) from a place on, in order of F."""
        finish_at = self._finishes(tenant)
        return ((finish_at(place), tenant.order[place][1]) for place in range(begins, len(tenant.order)))

    def _begin(self, tenant: _Tenant, weight: Weight) -> None:
        """Anew, now, with what GPS has still to serve it. What it has not used of its share until now is gone.

        One that has come back and has not reached its old end yet begins there still: what is before it is not owed
        again."""
        owed = 0.0
        if self._clock.is_open(tenant.flow):
            start = max(self.virtual_time, self._clock.start_time(tenant.flow))
            owed = max(0.0, self._clock.finish_time(tenant.flow) - start) * tenant.weight / 1000
            self._clock.close(tenant.flow, KvTokenTime(0.0))
        tenant.weight, tenant.paid = weight, tenant.handed_in - owed
        self._clock.arrive(tenant.flow, KvTokenTime(min(owed, MAX_COST)), weight)

    def _place(self, tenant: _Tenant) -> None:
        """By what it has handed in."""
        cost = min(max(0.0, tenant.handed_in - tenant.paid), MAX_COST)
        self._clock.revise(tenant.flow, KvTokenTime(cost))


def _first(
    rows: Iterable[Iterator[tuple[VirtualTime, ApplicationId]]], limit: int
) -> list[tuple[VirtualTime, ApplicationId]]:
    """So many in order of (F, id), from rows in order of F. Of those that finish together all are looked at."""
    found: list[tuple[VirtualTime, ApplicationId]] = []
    for one in merge(*rows, key=itemgetter(0)):
        if len(found) >= limit and (not found or one[0] != found[-1][0]):
            break
        found.append(one)
    return sorted(found)[:limit]


def _whole(cost: KvTokenTime) -> KvTokenTime:
    return KvTokenTime(float(floor(cost)))
