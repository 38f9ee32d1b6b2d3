"""Calls that go past the first in order while the memory for it is not there. Off, unless it is asked for.

vLLM admits calls in order, and the first whose prompt does not fit blocks those behind it: that is what the delay bound
rests on, and it leaves memory empty, the more the larger prompts are. With passing, a call behind it that does fit may
go first, for so many iterations after the first one was refused. It goes no further: then memory is left empty until
the first one fits.

vLLM is told by rank. The step after a refusal, if no memory has come free since, those that fit are ranked before the
one that was refused, for the length of that scheduling; so it is vLLM that admits them or does not. Nothing is changed
while everybody fits.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from vllm.v1.request import RequestStatus

PASSING_VARIABLE = "JUSTITIA_PASSING_ITERATIONS"

MAX_LOOKED_AT = 4
"""Of those behind the first: as many as one gateway usually has waiting inside."""

_BEFORE_ALL = 2**63
"""Ranks are smaller."""


def passing_iterations(environment: Mapping[str, str]) -> int:
    """0 where nothing is said. Raises ValueError, one line, for what is no number of iterations."""
    text = environment.get(PASSING_VARIABLE, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{PASSING_VARIABLE} must be a number of iterations, 0 or more, got {text!r}")
    return int(text)


class Passing:
    """`before` comes before a scheduling, `restore` after it, and then `note_refusal`, with what it has shown."""

    def __init__(self, scheduler: Any, most_iterations: int) -> None:
        self.num_passed = 0
        """Calls admitted past another."""
        self._scheduler = scheduler
        self._most_iterations = most_iterations
        self._refused: Any = None
        """The first in order, if the latest scheduling had no memory for it."""
        self._free_blocks = 0
        """That there were then."""
        self._refused_since: dict[str, int] = {}
        """By request, those refused so far: the iteration of the first time."""
        self._passers: list[tuple[Any, Any]] = []
        """Calls ranked before the first, each with its own priority."""

    def before(self) -> None:
        """May rank calls before the first."""
        first, queue = self._refused, self._scheduler.waiting
        if first is None or len(queue) < 2 or queue.peek_request() is not first:
            return
        free, waited = self._num_free_blocks(), self._iterations() - self._refused_since[first.request_id]
        if free > self._free_blocks or waited >= self._most_iterations:
            return
        for request in islice(queue, 1, 1 + MAX_LOOKED_AT):
            needed = self._num_blocks(request)
            if needed <= free and request.status in (RequestStatus.WAITING, RequestStatus.PREEMPTED):
                free -= needed
                self._passers.append((request, request.priority))
        for request, (rank, application_id) in self._passers:
            request.priority = (rank - _BEFORE_ALL, application_id)
        if self._passers:
            _order_anew(queue)

    def restore(self) -> None:
        """Everybody's own rank."""
        passers, self._passers = self._passers, []
        self._refused = None
        for request, priority in passers:
            request.priority = priority
            self.num_passed += request.status == RequestStatus.RUNNING
        if passers:
            _order_anew(self._scheduler.waiting)

    def note_refusal(self, had_room: bool) -> None:
        """`had_room`: for another call, but for memory."""
        queue = self._scheduler.waiting
        if queue and had_room:
            self._refused = first = queue.peek_request()
            self._free_blocks = self._num_free_blocks()
            self._refused_since.setdefault(first.request_id, self._iterations())

    @property
    def num_remembered(self) -> int:
        """Live requests that were refused before."""
        return len(self._refused_since)

    def ended(self, request: Any) -> None:
        self._refused_since.pop(request.request_id, None)

    def _num_blocks(self, request: Any) -> int:
        """That it needs to begin, as if nothing of it were cached."""
        scheduler = self._scheduler
        return int(-(-request.num_tokens // scheduler.block_size) * len(scheduler.kv_cache_config.kv_cache_groups))

    def _num_free_blocks(self) -> int:
        return int(self._scheduler.kv_cache_manager.block_pool.get_num_free_blocks())

    def _iterations(self) -> int:
        return int(self._scheduler.justitia.account.iterations)


def _order_anew(queue: Any) -> None:
    """Removing nothing makes vLLM rebuild its heap."""
    queue.remove_requests(())
