"""The rules alone: whatever is published and rolled back, in whatever order."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ports import ShelfMark
from gateway.stores.shelf import MAX_KEPT, MAX_ROLLED_BACK, Shelf, is_version, published, rolled_back, version_of
from gateway.stores.shelf_json import shelf_from_json, shelf_to_json

VERSIONS = [hashlib.sha256(bytes([number])).hexdigest()[:16] for number in range(8)]
A, B, C = VERSIONS[:3]
SHELF = Shelf(ShelfMark(B, A, (C,)), (A, C, B))
GOOD: dict[str, Any] = json.loads(shelf_to_json(SHELF))

steps = st.lists(st.tuples(st.sampled_from([published, rolled_back]), st.sampled_from(VERSIONS)), max_size=40)


@given(steps)
def test_a_shelf_is_never_at_odds_with_itself(steps: list[Any]) -> None:
    shelf: Shelf | None = None
    never_again: set[str] = set()
    for step, version in steps:
        if shelf is None and step is rolled_back:
            continue
        before, shelf = shelf, step(shelf, version)
        mark = shelf.mark
        if step is rolled_back and before != shelf:
            never_again.add(version)
        assert shelf_from_json(shelf_to_json(shelf)) == shelf
        assert mark.version not in never_again
        assert mark.previous not in never_again
        assert set(mark.rolled_back) == never_again
        assert len(shelf.kept) == len(set(shelf.kept)) <= MAX_KEPT
        assert {mark.version, mark.previous} - {"", None} <= set(shelf.kept)
        assert set(shelf.kept) <= {*(before.kept if before else ()), version}


def test_the_latest_rolled_back_are_remembered() -> None:
    versions = [version_of(bytes([number, 1])) for number in range(MAX_ROLLED_BACK + 4)]
    shelf = published(None, A)
    for version in versions:
        shelf = rolled_back(published(shelf, version), version)
    assert shelf.mark == ShelfMark(A, None, tuple(versions[-MAX_ROLLED_BACK:]))


@pytest.mark.parametrize(
    "bad",
    [
        {"format": 2},
        {"more": 1},
        {"version": None},
        {"version": "../../etc/passwd"},
        {"version": A.upper()},
        {"version": A + "\n"},
        {"version": C},
        {"version": A},
        {"previous": ""},
        {"previous": C},
        {"previous": 5},
        {"rolled_back": None},
        {"rolled_back": A},
        {"rolled_back": [None]},
        {"rolled_back": [C] * (MAX_ROLLED_BACK + 1)},
        {"kept": ["x"]},
        {"kept": VERSIONS},
    ],
)
def test_a_mark_that_the_rules_do_not_make_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        shelf_from_json(json.dumps({**GOOD, **bad}).encode())
    assert shelf_from_json(json.dumps(GOOD).encode()) == SHELF


def test_versions_are_sixteen_hex_digits() -> None:
    assert version_of(b"an artifact") == hashlib.sha256(b"an artifact").hexdigest()[:16]
    assert is_version(A)
    for other in ("", A[1:], A + "0", A.upper(), "١" * 16, f"../{A[3:]}", f"{A}\n"):
        assert not is_version(other)


def test_the_mean_is_never_rolled_back() -> None:
    shelf = replace(SHELF, mark=ShelfMark("", None, (C,)))
    assert rolled_back(shelf, "") == shelf
