"""Exact KV token-time: who held how much of the KV cache for how many iterations.

Quantities. The clock is engine iterations (schedulings that gave at least one token). A block held over dt iterations
is worth `tokens_per_block * dt` token·iterations. A block with n holders counts 1/n to each of them, so that at any
moment

    Σ service of all holders, past and present  =  tokens_per_block · ∫ (distinct held blocks) dt  =  total.

Method. Shares change only when blocks change hands, so nothing is touched per iteration. Each held block keeps
(n, since, accrued): its holders, when n last changed, and accrued = ∫ 1/n dt up to then. Before n changes, accrued is
settled. A holder remembers accrued at the moment it took the block; its share is accrued now minus that. The total is
the same integral over the whole pool, kept in integers. A block that nobody holds is forgotten, so accrued starts from
zero each time and loses no digits however long the engine runs.

Cost: O(1) for a block that is taken or let go, O(1) for a tick. Rounding: each settling rounds once.

This module knows nothing of vLLM. Block ids are any hashable numbers; the null block must not be passed in.
"""

from collections.abc import Iterable


class _HeldBlock:
    """A block with at least one holder. Units: iterations."""

    __slots__ = ("accrued", "num_holders", "since")

    def __init__(self, now: int) -> None:
        self.num_holders = 1
        self.since = now
        self.accrued = 0.0

    def accrued_at(self, now: int) -> float:
        """∫ 1/n dt from the block's first holder until now."""
        return self.accrued + (now - self.since) / self.num_holders

    def settle(self, now: int) -> None:
        self.accrued += (now - self.since) / self.num_holders
        self.since = now


class KvAccount:
    """The account of one KV pool. `service` and `total` are in token·iterations."""

    def __init__(self, tokens_per_block: float) -> None:
        self.tokens_per_block = tokens_per_block
        self.iterations = 0
        self._blocks: dict[int, _HeldBlock] = {}
        self._held: dict[str, dict[int, float]] = {}
        """holder → block → the block's accrued when the holder took it."""
        self._settled: dict[str, float] = {}
        """holder → block·iterations of the blocks it has let go."""
        self._total_block_iterations = 0

    @property
    def total(self) -> float:
        """Service delivered to everybody since the start; never falls."""
        return self._total_block_iterations * self.tokens_per_block

    @property
    def num_held_blocks(self) -> int:
        return len(self._blocks)

    def tick(self) -> None:
        """One iteration passes; what is held now is held throughout it."""
        self.iterations += 1
        self._total_block_iterations += len(self._blocks)

    def acquire(self, holder: str, blocks: Iterable[int]) -> None:
        """`holder` takes these blocks, alone or beside others. One it has already is not counted twice."""
        now = self.iterations
        held = self._held.setdefault(holder, {})
        for block in blocks:
            if block in held:
                continue
            state = self._blocks.get(block)
            if state is None:
                self._blocks[block] = _HeldBlock(now)
                held[block] = 0.0
            else:
                state.settle(now)
                state.num_holders += 1
                held[block] = state.accrued

    def release(self, holder: str, blocks: Iterable[int]) -> None:
        """`holder` lets these blocks go and stays open. One it does not hold is passed over."""
        held = self._held.get(holder)
        if held is None:
            return
        now = self.iterations
        earned = 0.0
        for block in blocks:
            at_acquisition = held.pop(block, None)
            if at_acquisition is None:
                continue
            state = self._blocks[block]
            earned += state.accrued_at(now) - at_acquisition
            if state.num_holders == 1:
                del self._blocks[block]
            else:
                state.settle(now)
                state.num_holders -= 1
        self._settled[holder] = self._settled.get(holder, 0.0) + earned

    def release_all(self, holder: str) -> None:
        """`holder` holds nothing any more and stays open (preempted)."""
        held = self._held.get(holder)
        if held:
            self.release(holder, tuple(held))

    def service(self, holder: str) -> float:
        """What `holder` has received so far."""
        now = self.iterations
        held = self._held.get(holder, {})
        running = sum(self._blocks[block].accrued_at(now) - start for block, start in held.items())
        return (self._settled.get(holder, 0.0) + running) * self.tokens_per_block

    def close(self, holder: str) -> float:
        """`holder` is finished: everything is released and it is forgotten. Returns its service."""
        self.release_all(holder)
        self._held.pop(holder, None)
        return self._settled.pop(holder, 0.0) * self.tokens_per_block
