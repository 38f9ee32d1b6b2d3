"""The virtual clock: textbook GPS over applications, in service and not in seconds.

Every application has a start S and a finish time F = S + cost / weight, fixed when it arrives. It is *backlogged*
(unfinished in the ideal fluid server) exactly while F > V. Service delivered moves V by service / (sum of the weights
of the backlogged), piecewise: when V meets the smallest F that application departs, the sum shrinks, and what is left
of the service goes on from there. With nobody backlogged the rest of the service is discarded and V stands still; V
never goes back.

The order of the floating-point operations is part of the contract: the Redis store does the same ones in Lua, and both
must agree bit for bit. Weights are integers, so their sum is exact whatever the order of events.

    F      = start + cost * 1000 / weight
    needed = (F - V) * weight_sum / 1000        service until the next departure
    V      = V + service * 1000 / weight_sum    short of that departure; never beyond its F

Time: O(log n) amortised an operation, O(d log n) for d departures. Memory: the applications open or backlogged.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf, nextafter

from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualTime, Weight

MAX_COST = KvTokenTime(1e15)
"""No application costs more: a million KV tokens held for 30 years of 1-s iterations. Above it, it is a mistake."""

MAX_WEIGHT = Weight(1_000_000_000)
"""A million units. Keeps the sum of nine million weights exact in a double, which is all that Lua has."""

_MAX_FLOAT = nextafter(inf, 0)

_MIN_HEAP_TO_COMPACT = 64
"""Below this a heap is not worth rebuilding."""


_Departure = tuple[VirtualTime, ApplicationId]


class UnknownApplication(KeyError):
    """This id is not open here: it never arrived, or it has been closed."""

    def __init__(self, application_id: ApplicationId) -> None:
        super().__init__(application_id)
        self.application_id = application_id

    def __str__(self) -> str:
        return f"unknown application {self.application_id!r}"


@dataclass(slots=True)
class Tag:
    """One application's place in virtual time. Known while it is open or backlogged."""

    start: VirtualTime
    finish: VirtualTime
    weight: Weight
    is_open: bool = True
    is_backlogged: bool = False


class VirtualClock:
    """Who is unfinished in GPS, who finishes when, and how far virtual time has come."""

    def __init__(self) -> None:
        self._virtual_time = VirtualTime(0.0)
        self._tags: dict[ApplicationId, Tag] = {}
        self._departures: list[_Departure] = []
        """A heap by (F, id) with one live entry for each backlogged application, and stale ones among them."""
        self._num_backlogged = 0
        self._weight_sum = 0

    # --- readings ---------------------------------------------------------------------------------------------------

    @property
    def virtual_time(self) -> VirtualTime:
        return self._virtual_time

    @property
    def weight_sum(self) -> int:
        """Sum of the weights of the backlogged, in thousandths."""
        return self._weight_sum

    def __len__(self) -> int:
        """Applications known: open, backlogged or both."""
        return len(self._tags)

    def is_open(self, application_id: ApplicationId) -> bool:
        tag = self._tags.get(application_id)
        return tag is not None and tag.is_open

    def is_backlogged(self, application_id: ApplicationId) -> bool:
        tag = self._tags.get(application_id)
        return tag is not None and tag.is_backlogged

    def start_time(self, application_id: ApplicationId) -> VirtualTime:
        return self._known(application_id).start

    def finish_time(self, application_id: ApplicationId) -> VirtualTime:
        """F; of a closed application too, as long as it is backlogged."""
        return self._known(application_id).finish

    def backlogged(self, limit: int | None = None) -> list[ApplicationId]:
        """In order of (F, id), so many of them: the order in which they leave GPS if nothing else happens."""
        if limit is not None and limit < self._num_backlogged:
            return list(islice(self._departing(), limit))
        tags = ((tag.finish, application_id) for application_id, tag in self._tags.items() if tag.is_backlogged)
        return [application_id for _, application_id in sorted(tags)]

    # --- events -----------------------------------------------------------------------------------------------------

    def arrive(self, application_id: ApplicationId, cost: KvTokenTime, weight: Weight = UNIT_WEIGHT) -> VirtualTime:
        """Open an application and answer its F. For one that is open already: its F, unchanged.

        An id that comes back while its closed episode is unfinished in GPS starts where that one ends (S = old F), so
        closing and re-opening gains nothing. It counts once in the weight sum, with its new weight.
        """
        check_cost(cost)
        check_weight(weight)
        tag = self._tags.get(application_id)
        if tag is None:
            tag = self._tags[application_id] = Tag(self._virtual_time, self._virtual_time, weight)
        elif tag.is_open:
            return tag.finish
        else:
            self._weight_sum += weight - tag.weight
            tag.start, tag.weight, tag.is_open = tag.finish, weight, True
        return self._settle(application_id, tag, cost)

    def serve(self, service: KvTokenTime) -> VirtualTime:
        """Advance V by service delivered (token·iterations) and answer it."""
        _check_finite("service", service)
        remaining = float(service)
        while remaining > 0 and self._num_backlogged:
            finish = self._next_departure()
            needed = (finish - self._virtual_time) * self._weight_sum / 1000
            if remaining >= needed:
                self._advance_to(finish)
                remaining -= needed
            else:
                target = self._virtual_time + remaining * 1000 / self._weight_sum
                self._advance_to(VirtualTime(min(target, finish)))
                break
        return self._virtual_time

    def revise(self, application_id: ApplicationId, cost: KvTokenTime) -> VirtualTime:
        """A new total cost: F = S + cost / weight. F may fall behind V: then GPS has served the application in full."""
        check_cost(cost)
        tag = self._opened(application_id)
        if tag.finish == _finish_time(tag, cost):
            return tag.finish
        return self._settle(application_id, tag, cost)

    def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> VirtualTime:
        """It is finished; settled at `cost` if given. Forgotten at once, or, if backlogged, when V reaches its F."""
        tag = self._opened(application_id)
        if cost is not None:
            check_cost(cost)
            self._settle(application_id, tag, cost)
        tag.is_open = False
        if not tag.is_backlogged:
            del self._tags[application_id]
        return tag.finish

    def restore(self, virtual_time: VirtualTime) -> VirtualTime:
        """Raise V to at least this reading; whoever is passed departs."""
        _check_finite("virtual time", virtual_time)
        self._advance_to(VirtualTime(max(self._virtual_time, float(virtual_time))))
        return self._virtual_time

    # --- inside -----------------------------------------------------------------------------------------------------

    def _known(self, application_id: ApplicationId) -> Tag:
        tag = self._tags.get(application_id)
        if tag is None:
            raise UnknownApplication(application_id)
        return tag

    def _opened(self, application_id: ApplicationId) -> Tag:
        tag = self._known(application_id)
        if not tag.is_open:
            raise UnknownApplication(application_id)
        return tag

    def _settle(self, application_id: ApplicationId, tag: Tag, cost: KvTokenTime) -> VirtualTime:
        """Set F and join or leave the backlogged as F > V says."""
        tag.finish = _finish_time(tag, cost)
        was_backlogged, tag.is_backlogged = tag.is_backlogged, tag.finish > self._virtual_time
        joined = int(tag.is_backlogged) - int(was_backlogged)
        self._num_backlogged += joined
        self._weight_sum += joined * tag.weight
        if tag.is_backlogged:
            heapq.heappush(self._departures, (tag.finish, application_id))
        self._compact()
        return tag.finish

    def _advance_to(self, virtual_time: VirtualTime) -> None:
        """Set V; everybody whose F it has reached departs, ties included."""
        self._virtual_time = virtual_time
        while self._num_backlogged and self._next_departure() <= virtual_time:
            _, application_id = heapq.heappop(self._departures)
            tag = self._tags[application_id]
            tag.is_backlogged = False
            self._num_backlogged -= 1
            self._weight_sum -= tag.weight
            if not tag.is_open:
                del self._tags[application_id]

    def _departing(self) -> Iterator[ApplicationId]:
        """The backlogged, in order of (F, id): of very many, the first few cost no look at the others."""
        last = None
        for entry in _in_order(self._departures):
            if entry != last and self._is_live(*entry):
                yield entry[1]
            last = entry

    def _next_departure(self) -> VirtualTime:
        """The smallest F of the backlogged, of whom there is at least one; its entry is then the heap's first."""
        while True:
            finish, application_id = self._departures[0]
            if self._is_live(finish, application_id):
                return finish
            heapq.heappop(self._departures)

    def _is_live(self, finish: VirtualTime, application_id: ApplicationId) -> bool:
        tag = self._tags.get(application_id)
        return tag is not None and tag.is_backlogged and tag.finish == finish

    def _compact(self) -> None:
        """Rebuild the heap when more than half of it is stale, so that revisions cannot make it grow without end."""
        if len(self._departures) > max(_MIN_HEAP_TO_COMPACT, 2 * self._num_backlogged):
            live = dict.fromkeys(entry for entry in self._departures if self._is_live(*entry))
            self._departures = list(live)
            heapq.heapify(self._departures)


def _in_order(heap: list[_Departure]) -> Iterator[_Departure]:
    """What is on a heap, smallest first, leaving it as it is: O(k log k) for the first k."""
    nodes = [(heap[0], 0)] if heap else []
    while nodes:
        entry, place = heapq.heappop(nodes)
        yield entry
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(heap):
                heapq.heappush(nodes, (heap[child], child))


def _finish_time(tag: Tag, cost: KvTokenTime) -> VirtualTime:
    return VirtualTime(tag.start + float(cost) * 1000 / tag.weight)


def check_cost(cost: KvTokenTime) -> None:
    if not 0 <= cost <= MAX_COST:  # also refuses NaN
        raise ValueError(f"cost must lie between 0 and {MAX_COST:g}, got {cost!r}")


def _check_finite(name: str, value: float) -> None:
    if not 0 <= value <= _MAX_FLOAT:
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")


def check_weight(weight: Weight) -> None:
    if not (isinstance(weight, int) and 1 <= weight <= MAX_WEIGHT):
        raise ValueError(f"weight must be a whole number of thousandths between 1 and {MAX_WEIGHT}, got {weight!r}")
