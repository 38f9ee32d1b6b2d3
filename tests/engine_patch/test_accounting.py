"""The lazy account against a brute-force one, which touches every held block at every iteration."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_patch.accounting import KvAccount

TOKENS_PER_BLOCK = 16

HOLDERS = st.sampled_from("abcd")
BLOCKS = st.lists(st.integers(0, 9), max_size=6)
EVENTS = st.one_of(
    st.tuples(st.just("acquire"), HOLDERS, BLOCKS),
    st.tuples(st.just("release"), HOLDERS, BLOCKS),
    st.tuples(st.just("release_all"), HOLDERS, st.just([])),
    st.tuples(st.just("close"), HOLDERS, st.just([])),
    st.tuples(st.just("tick"), st.just(""), st.just([])),
)


class BruteForce:
    """Block·iterations in exact fractions."""

    def __init__(self) -> None:
        self.held: dict[str, set[int]] = {}
        self.service: dict[str, Fraction] = {}
        self.closed = Fraction(0)
        self.total = 0

    def apply(self, event: str, holder: str, blocks: Sequence[int]) -> None:
        held = self.held.setdefault(holder, set())
        match event:
            case "acquire":
                held |= set(blocks)
            case "release":
                held -= set(blocks)
            case "release_all":
                held.clear()
            case "close":
                held.clear()
                self.closed += self.service.pop(holder, Fraction(0))
            case "tick":
                self.tick()

    def tick(self) -> None:
        blocks = set().union(*self.held.values())
        self.total += len(blocks)
        for block in blocks:
            holders = [name for name, held in self.held.items() if block in held]
            for name in holders:
                self.service[name] = self.service.get(name, Fraction(0)) + Fraction(1, len(holders))


def _apply(account: KvAccount, event: str, holder: str, blocks: Sequence[int]) -> float:
    match event:
        case "acquire":
            account.acquire(holder, blocks)
        case "release":
            account.release(holder, blocks)
        case "release_all":
            account.release_all(holder)
        case "close":
            return account.close(holder)
        case "tick":
            account.tick()
    return 0.0


@given(st.lists(EVENTS, max_size=80))
def test_every_share_is_what_brute_force_counts(events: list[tuple[str, str, list[int]]]) -> None:
    account, brute = KvAccount(TOKENS_PER_BLOCK), BruteForce()
    closed = 0.0
    for event, holder, blocks in events:
        expected = brute.service.get(holder, Fraction(0)) if event == "close" else Fraction(0)
        got = _apply(account, event, holder, blocks)
        brute.apply(event, holder, blocks)
        assert got == pytest.approx(float(expected * TOKENS_PER_BLOCK), rel=1e-12, abs=1e-12)
        closed += got
        for name in "abcd":
            due = float(brute.service.get(name, Fraction(0)) * TOKENS_PER_BLOCK)
            assert account.service(name) == pytest.approx(due, rel=1e-12, abs=1e-12)
        assert account.total == brute.total * TOKENS_PER_BLOCK
        assert account.num_held_blocks == len(set().union(*brute.held.values(), set()))
    shares = closed + sum(account.service(name) for name in "abcd")
    assert shares == pytest.approx(account.total, rel=1e-12, abs=1e-9)


def test_a_shared_block_is_split_and_a_private_one_is_not() -> None:
    account = KvAccount(TOKENS_PER_BLOCK)
    account.acquire("a", [1, 2])
    account.tick()
    account.acquire("b", [1, 3])
    for _ in range(4):
        account.tick()
    # a: block 1 alone for 1, shared for 4 (so 2), block 2 alone for 5. b: block 1 shared for 4 (2), block 3 for 4.
    assert account.close("a") == (1 + 2 + 5) * TOKENS_PER_BLOCK
    assert account.close("b") == (2 + 4) * TOKENS_PER_BLOCK
    assert account.total == (8 + 6) * TOKENS_PER_BLOCK


def test_a_preempted_holder_keeps_what_it_has_received() -> None:
    account = KvAccount(TOKENS_PER_BLOCK)
    account.acquire("a", [1, 2])
    account.tick()
    account.release_all("a")
    account.tick()
    account.acquire("a", [7])
    account.tick()
    assert account.close("a") == (2 + 1) * TOKENS_PER_BLOCK


def test_nothing_is_remembered_of_those_who_left() -> None:
    account = KvAccount(TOKENS_PER_BLOCK)
    for number in range(1000):
        account.acquire(str(number), [number % 7, number % 5])
        account.tick()
        account.close(str(number))
    assert account.num_held_blocks == 0
    assert not account._held
    assert not account._settled
