"""The waiting calls of one model, in lanes: one for each tenant whose running calls are capped, one for all others.

Within a lane the order is the ready queue's, and the lanes are merged in the same order. A lane whose tenant has no
room is closed, so its calls are passed and nobody looks at them again until there is room: O(log n) an operation,
however many wait behind a cap. Pure.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable
from itertools import chain, count

from gateway.fairness.units import ApplicationId
from gateway.scheduling.ready_queue import MIN_HEAP_TO_COMPACT, Key, ReadyQueue

COMMON = ""
"""The lane of those without a cap: no tenant has this name."""

ASIDE = "/"
"""The lane of those that are passed for the moment; no tenant has this name either."""

ORDER_KEPT_S = 1.0
"""How old the order may be that places are told from: sorting it anew is O(n log n)."""


class Lanes:
    """`has_room`: whether another call of this capped tenant may run."""

    def __init__(self, has_room: Callable[[str], bool]) -> None:
        self._has_room = has_room
        self._lanes: dict[str, ReadyQueue] = {}
        self._lane_of: dict[str, str] = {}
        self._arrivals = count()
        self._heads: list[tuple[Key, str]] = []
        """A heap that holds the first of every open lane, and what once was the first of one."""
        self._head_of: dict[str, Key] = {}
        """Of the open lanes."""
        self._closed: set[str] = set()
        self._order: list[Key] = []
        self._ordered_at = float("-inf")

    def __len__(self) -> int:
        return len(self._lane_of)

    # --- calls ------------------------------------------------------------------------------------------------------

    def push(self, call_id: str, application_id: ApplicationId, rank: float, lane: str = COMMON) -> None:
        self._lane(lane).push(call_id, application_id, rank)
        self._lane_of[call_id] = lane
        self._look_at(lane)

    def rerank(self, call_id: str, rank: float) -> None:
        lane = self._lane_of[call_id]
        self._lanes[lane].rerank(call_id, rank)
        self._look_at(lane)

    def remove(self, call_id: str) -> None:
        lane = self._lane_of.pop(call_id)
        self._lanes[lane].remove(call_id)
        self._look_at(lane)

    def first(self) -> tuple[str, float] | None:
        """The call whose turn it is, and its rank: the first of all whose tenant has room."""
        while self._heads:
            key, lane = self._heads[0]
            if self._head_of.get(lane) is key:
                if lane == COMMON or (lane != ASIDE and self._has_room(lane)):
                    return key[3], key[0]
                del self._head_of[lane]
                self._closed.add(lane)
            heapq.heappop(self._heads)
        return None

    def lane_of(self, call_id: str) -> str:
        return self._lane_of[call_id]

    def move(self, call_id: str, lane: str) -> None:
        """Its tenant's cap came after it. It keeps its place among its equals."""
        old_lane = self._lane_of[call_id]
        key = self._lanes[old_lane].key_of(call_id)
        self._lanes[old_lane].remove(call_id)
        self._look_at(old_lane)
        self._lane(lane).put(key)
        self._lane_of[call_id] = lane
        self._look_at(lane)

    def num_capped(self) -> int:
        """Of its calls, those whose tenant has no room: O(lanes)."""
        lanes = self._lanes.items()
        return sum(len(queue) for name, queue in lanes if name not in (COMMON, ASIDE) and not self._has_room(name))

    # --- lanes ------------------------------------------------------------------------------------------------------

    def reopen(self, lane: str) -> None:
        """Its tenant may have room again."""
        if lane in self._closed:
            self._closed.remove(lane)
            self._look_at(lane)

    def reopen_all(self) -> None:
        for lane in list(self._closed):
            self.reopen(lane)

    def _lane(self, name: str) -> ReadyQueue:
        queue = self._lanes.get(name)
        if queue is None:
            queue = self._lanes[name] = ReadyQueue(self._arrivals)
        return queue

    def _look_at(self, lane: str) -> None:
        """Its first may have changed."""
        head = self._lanes[lane].first_key()
        if head is None:
            del self._lanes[lane]
            self._closed.discard(lane)
            self._head_of.pop(lane, None)
        elif lane not in self._closed and self._head_of.get(lane) is not head:
            self._head_of[lane] = head
            heapq.heappush(self._heads, (head, lane))
        if len(self._heads) > 2 * len(self._head_of) + MIN_HEAP_TO_COMPACT:
            self._heads = [(key, name) for name, key in self._head_of.items()]
            heapq.heapify(self._heads)

    # --- places -----------------------------------------------------------------------------------------------------

    def num_before(self, call_id: str, now: float) -> int:
        """How many calls rank before it, as of at most a second ago: O(log n), and a sort once a second at most."""
        key = self._lanes[self._lane_of[call_id]].key_of(call_id)
        if not now - self._ordered_at < ORDER_KEPT_S:
            self._order = sorted(chain.from_iterable(queue.all_keys() for queue in self._lanes.values()))
            self._ordered_at = now
        return bisect_left(self._order, key)
