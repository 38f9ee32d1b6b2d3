"""Following tables that grow, shrink, and lose blocks to a window or to a neighbour."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from engine_patch.accounting import KvAccount
from engine_patch.block_tables import Block, BlockTables


@dataclass
class FakeBlock:
    block_id: int

    @property
    def is_null(self) -> bool:
        return self.block_id == 0


def _held(account: KvAccount, request_id: str) -> set[int]:
    return set(account._held.get(request_id, ()))


# A request's changing table over time: nulls (0) anywhere, any block may move, appear or go.
TABLES = st.lists(st.lists(st.integers(0, 6), max_size=6, unique_by=lambda block: block or object()), max_size=12)


@given(TABLES)
def test_what_is_held_is_what_the_changing_table_shows(versions: list[list[int]]) -> None:
    table: dict[str, list[Block]] = {}
    account = KvAccount(1)
    tables = BlockTables([], [table], account)
    head = 0
    for version in versions:
        # What has become null at the head stays null: attention never looks back there.
        shown = [0] * head + version
        head = next((index for index, block in enumerate(shown) if block), len(shown))
        table["r"] = [FakeBlock(block) for block in shown]
        tables.follow(["r"])
        assert _held(account, "r") == {block for block in shown if block}


def test_a_block_may_pass_from_one_table_to_another_in_one_step() -> None:
    growing: dict[str, list[Block]] = {"r": [FakeBlock(1)]}
    changing: dict[str, list[Block]] = {"r": [FakeBlock(2), FakeBlock(3)]}
    account = KvAccount(1)
    tables = BlockTables([growing], [changing], account)
    tables.follow(["r"])
    growing["r"] = [*growing["r"], FakeBlock(2)]
    changing["r"] = [FakeBlock(0), FakeBlock(3)]
    tables.follow(["r"])
    assert _held(account, "r") == {1, 2, 3}


def test_a_table_that_shrank_is_read_anew() -> None:
    table: dict[str, list[Block]] = {"r": [FakeBlock(1), FakeBlock(2), FakeBlock(3)]}
    account = KvAccount(1)
    tables = BlockTables([table], [], account)
    tables.follow(["r"])
    account.tick()
    table["r"] = [FakeBlock(1)]
    tables.follow(["r"])
    account.tick()
    assert account.close("r") == 3 + 1


def test_the_null_block_is_nobodys() -> None:
    account = KvAccount(1)
    BlockTables([{"r": [FakeBlock(0), FakeBlock(4)]}], [{"r": [FakeBlock(0), FakeBlock(5)]}], account).follow(["r"])
    assert _held(account, "r") == {4, 5}


def test_following_does_not_create_table_entries() -> None:
    table: dict[str, list[Block]] = {}
    tables = BlockTables([table], [], KvAccount(1))
    tables.follow(["gone"])
    assert table == {}
