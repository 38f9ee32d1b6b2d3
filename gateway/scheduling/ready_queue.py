"""Waiting calls in order of (rank, application id, arrival). A heap with lazy deletion: O(log n) amortised."""

import heapq
from collections.abc import Iterable, Iterator
from itertools import count

from gateway.fairness.units import ApplicationId

MIN_HEAP_TO_COMPACT = 64
"""Below this a heap is not worth rebuilding."""

Key = tuple[float, ApplicationId, int, str]
"""(rank, application id, arrival number, call id): the order, and what makes a heap entry current."""


class ReadyQueue:
    """Calls keep their arrival number for life, so a re-ranked call does not lose its place among its equals.

    `arrivals`: where the numbers come from, for queues whose calls are compared with one another's.
    """

    def __init__(self, arrivals: Iterator[int] | None = None) -> None:
        self._heap: list[Key] = []
        self._current: dict[str, Key] = {}
        self._arrivals = count() if arrivals is None else arrivals

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._current

    def push(self, call_id: str, application_id: ApplicationId, rank: float) -> None:
        self.put((rank, application_id, next(self._arrivals), call_id))

    def rerank(self, call_id: str, rank: float) -> None:
        old_rank, application_id, arrival, _ = self._current[call_id]
        if rank != old_rank:
            self.put((rank, application_id, arrival, call_id))

    def first(self) -> tuple[str, float] | None:
        """The call whose turn it is, and its rank."""
        key = self.first_key()
        return None if key is None else (key[3], key[0])

    def first_key(self) -> Key | None:
        while self._heap:
            key = self._heap[0]
            if self._current.get(key[3]) is key:
                return key
            heapq.heappop(self._heap)
        return None

    def key_of(self, call_id: str) -> Key:
        return self._current[call_id]

    def all_keys(self) -> Iterable[Key]:
        """In no order."""
        return self._current.values()

    def remove(self, call_id: str) -> None:
        del self._current[call_id]
        self._compact()

    def put(self, key: Key) -> None:
        """A call with the place it has had, here or in another queue."""
        self._current[key[3]] = key
        heapq.heappush(self._heap, key)
        self._compact()

    def _compact(self) -> None:
        if len(self._heap) > MIN_HEAP_TO_COMPACT and len(self._heap) > 2 * len(self._current):
            self._heap = list(self._current.values())
            heapq.heapify(self._heap)
