"""Reads vLLM's block tables and tells the account which blocks changed hands.

A table (`req_to_blocks` of one KV group) maps a request to its blocks in order of position. With full attention it only
grows, so its length says what is new. Other kinds of attention also let go of blocks: those outside a sliding window
become the null block, a recurrent state moves; there the part that can still change is compared as a whole. Blocks of
all groups come from one pool and have distinct ids. The null block is nobody's.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from engine_patch.accounting import KvAccount


class Block(Protocol):
    block_id: int
    is_null: bool


Table = Mapping[str, Sequence[Block]]


class _Tail:
    """One request's blocks in one changing table, as last seen, without the null blocks at its head."""

    __slots__ = ("blocks", "held", "start")

    def __init__(self) -> None:
        self.start = 0
        self.blocks: list[Block] = []
        self.held: list[int] = []
        """Ids of those that were not null."""


class BlockTables:
    def __init__(self, growing: Sequence[Table], changing: Sequence[Table], account: KvAccount) -> None:
        self._growing: list[tuple[Table, dict[str, int]]] = [(table, {}) for table in growing]
        """Each with the length last seen of every request's row."""
        self._changing: list[tuple[Table, dict[str, _Tail]]] = [(table, {}) for table in changing]
        self._account = account

    @classmethod
    def of(cls, kv_cache_manager: Any, account: KvAccount) -> "BlockTables":
        """The tables of a vLLM KVCacheManager."""
        growing: list[Table] = []
        changing: list[Table] = []
        for manager in kv_cache_manager.coordinator.single_type_managers:
            # By exact type: subclasses of full attention exist that drop blocks.
            only_grows = type(manager).__name__ in ("FullAttentionManager", "CrossAttentionManager")
            (growing if only_grows else changing).append(manager.req_to_blocks)
        return cls(growing, changing, account)

    def follow(self, request_ids: Collection[str]) -> None:
        """Take note of what these requests hold now. Cheap for those with whom nothing changed."""
        if self._changing:
            # Before the others: a block that one table drops may be the very one that another table takes.
            for request_id in request_ids:
                self._follow_changing(request_id)
        for table, lengths in self._growing:
            for request_id in request_ids:
                blocks = table.get(request_id, ())
                seen = lengths.get(request_id, 0)
                if len(blocks) > seen:
                    taken = [block.block_id for block in blocks[seen:] if not block.is_null]
                    self._account.acquire(request_id, taken)
                    lengths[request_id] = len(blocks)
                elif len(blocks) < seen:
                    # A row that shrank (a failed load from elsewhere is recomputed): start over with what is left.
                    self.let_go(request_id)
                    self.follow((request_id,))

    def _follow_changing(self, request_id: str) -> None:
        before: set[int] = set()
        after: set[int] = set()
        for table, tails in self._changing:
            tail = tails.get(request_id)
            if tail is None:
                tail = tails[request_id] = _Tail()
            blocks = list(table.get(request_id, ())[tail.start :])
            if blocks == tail.blocks:
                continue
            before.update(tail.held)
            tail.held = [block.block_id for block in blocks if not block.is_null]
            after.update(tail.held)
            head = next((index for index, block in enumerate(blocks) if not block.is_null), len(blocks))
            tail.start += head
            tail.blocks = blocks[head:]
        if before != after:
            self._account.release(request_id, before - after)
            self._account.acquire(request_id, after - before)

    def let_go(self, request_id: str) -> None:
        """The request is about to lose all its blocks."""
        self._account.release_all(request_id)
        for _, lengths in self._growing:
            lengths.pop(request_id, None)
        for _, tails in self._changing:
            tails.pop(request_id, None)
