"""Which waiting call gives way when there is no memory for another body. Pure.

A newcomer that does not fit takes the place of one that comes after it in the order and is not smaller: of those, the
last in the order (the largest rank), and of equals the newest. So one goes for one, nobody gives way to what is larger,
and never one that is both older and smaller than who comes. If there is none, the newcomer is refused.

Sizes are kept in classes of powers of two, so that a victim is found in O(classes + log n): of larger classes all are
candidates, of the newcomer's own only its last in order. When the process itself is short of memory, the largest class
goes first, in the same order.
"""

import heapq
from dataclasses import dataclass, field
from itertools import count

from gateway.scheduling.ready_queue import MIN_HEAP_TO_COMPACT

_Entry = tuple[float, int, str]
"""(-rank, -arrival number, call id): the last in order is the least, and so the heap's first."""


@dataclass(slots=True)
class _Class:
    heap: list[_Entry] = field(default_factory=list)
    num_calls: int = 0


class Bodies:
    """The bodies of waiting calls."""

    def __init__(self) -> None:
        self._numbers = count()
        self._current: dict[str, tuple[_Entry, int]] = {}
        """By call: its entry, and its bytes."""
        self._classes: dict[int, _Class] = {}

    def __len__(self) -> int:
        return len(self._current)

    def push(self, call_id: str, rank: float, num_bytes: int) -> None:
        self._classes.setdefault(num_bytes.bit_length(), _Class()).num_calls += 1
        self._put((-rank, -next(self._numbers), call_id), num_bytes)

    def rerank(self, call_id: str, rank: float) -> None:
        (old_rank, number, _), num_bytes = self._current[call_id]
        if -rank != old_rank:
            self._put((-rank, number, call_id), num_bytes)

    def remove(self, call_id: str) -> None:
        _, num_bytes = self._current.pop(call_id)
        size = num_bytes.bit_length()
        of_size = self._classes[size]
        of_size.num_calls -= 1
        if not of_size.num_calls:
            del self._classes[size]

    def gives_way_to(self, rank: float, num_bytes: int) -> str | None:
        """The call whose place a newcomer of this rank and size takes; None: it has to go itself."""
        own_size = num_bytes.bit_length()
        candidates = [self._last(of_size) for size, of_size in self._classes.items() if size >= own_size]
        entry = min((entry for entry in candidates if self._current[entry[2]][1] >= num_bytes), default=None)
        return entry[2] if entry is not None and -entry[0] > rank else None

    def largest(self) -> str | None:
        """To within a power of two; of those, the last in order."""
        return self._last(self._classes[max(self._classes)])[2] if self._classes else None

    def _put(self, entry: _Entry, num_bytes: int) -> None:
        self._current[entry[2]] = (entry, num_bytes)
        of_size = self._classes[num_bytes.bit_length()]
        heapq.heappush(of_size.heap, entry)
        if len(of_size.heap) > MIN_HEAP_TO_COMPACT and len(of_size.heap) > 2 * of_size.num_calls:
            of_size.heap = [entry for entry in of_size.heap if self._is_current(entry)]
            heapq.heapify(of_size.heap)

    def _last(self, of_size: _Class) -> _Entry:
        while not self._is_current(of_size.heap[0]):
            heapq.heappop(of_size.heap)
        return of_size.heap[0]

    def _is_current(self, entry: _Entry) -> bool:
        current = self._current.get(entry[2])
        return current is not None and current[0] is entry
