"""Reads vLLM's block tables and tells the account which blocks changed hands.

A table (`req_to_blocks` of one KV group) maps a request to its blocks in order of position. With full attention it only
grows, so its length says what is new. Other kinds of attention also let go of blocks: those outside a sliding window
become the null block, a recurrent state moves; there the part that can still change is compared as a whole. Blocks of
all groups come from one pool and have distinct ids. The null block is nobody's.
"""

from collections.abc import Mapping, Sequence
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
        self._growing = tuple(growing)
        self._changing = tuple(changing)
        self._account = account
        self._lengths: dict[str, list[int]] = {}
        self._tails: dict[str, list[_Tail]] = {}

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

    def follow(self, request_id: str) -> None:
        """Take note of what this request holds now. Cheap when nothing changed."""
        taken: list[int] = []
        if self._changing:
            # Before the others: a block that one table drops may be the very one that another table takes.
            taken += self._follow_changing(request_id)
        lengths = self._lengths.get(request_id)
        if lengths is None:
            lengths = self._lengths[request_id] = [0] * len(self._growing)
        for index, table in enumerate(self._growing):
            blocks = table.get(request_id, ())
            seen = lengths[index]
            if len(blocks) > seen:
                taken += [block.block_id for block in blocks[seen:] if not block.is_null]
                lengths[index] = len(blocks)
            elif len(blocks) < seen:
                # A table that shrank (a failed load from elsewhere is recomputed): start over with what is left.
                self.let_go(request_id)
                self.follow(request_id)
                return
        if taken:
            self._account.acquire(request_id, taken)

    def _follow_changing(self, request_id: str) -> set[int]:
        """Releases what was dropped; returns what was taken."""
        tails = self._tails.get(request_id)
        if tails is None:
            tails = self._tails[request_id] = [_Tail() for _ in self._changing]
        before: set[int] = set()
        after: set[int] = set()
        for table, tail in zip(self._changing, tails, strict=True):
            blocks = list(table.get(request_id, ())[tail.start :])
            if blocks == tail.blocks:
                continue
            before.update(tail.held)
            tail.held = [block.block_id for block in blocks if not block.is_null]
            after.update(tail.held)
            head = next((index for index, block in enumerate(blocks) if not block.is_null), len(blocks))
            tail.start += head
            tail.blocks = blocks[head:]
        self._account.release(request_id, before - after)
        return after - before

    def let_go(self, request_id: str) -> None:
        """The request is about to lose all its blocks."""
        self._account.release_all(request_id)
        self._lengths.pop(request_id, None)
        self._tails.pop(request_id, None)
