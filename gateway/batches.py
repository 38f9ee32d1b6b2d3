"""A long row in short pieces: no operation of a store is long, and no call waits for all of them."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(row: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """In order; the last one may be shorter."""
    return (row[start : start + size] for start in range(0, len(row), size))
