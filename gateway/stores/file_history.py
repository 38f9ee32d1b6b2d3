"""Closed applications in a local file: one line of JSON each, latest last.

Appending a line is one write at the end of the file, so that a crash tears the last line at most. Before the file would
hold twice `max_entries` lines, or more than `max_bytes`, the latest `max_entries` (in half of `max_bytes`) become a new
file in its place: a line is copied once or twice in its life. Writers take a lock, `<name>.lock` beside the file, or a
line could go to the file that is just being replaced. Readers take none: what they have opened stays as it is, and the
line that is just being written is at worst one that they cannot read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gateway.ports import ClosedApplication
from gateway.stores.checks import checked_limit
from gateway.stores.closed_json import MAX_BYTES, closed_to_json, readable
from gateway.stores.local_files import InTurn, locked, owner_only, replace

_BLOCK_BYTES = 1 << 20


@dataclass(slots=True)
class _Counted:
    """How many lines this file had when it was that long: what others have appended since is all there is to count."""

    file: tuple[int, int] = (0, 0)
    """Device and inode: another one has been put in its place when they differ."""
    num_bytes: int = 0
    num_lines: int = 0


class FileHistory:
    """A `gateway.ports.History` in one file, shared by the processes of one machine. Nothing is made before the first
    append."""

    def __init__(self, path: Path, *, max_entries: int = 20_000, max_bytes: int = 256 * 2**20) -> None:
        """Raises ValueError for a bound that holds nothing."""
        if max_entries < 1 or max_bytes < 2 * (MAX_BYTES + 1):
            raise ValueError(f"a history needs max_entries >= 1 and max_bytes >= {2 * (MAX_BYTES + 1)}")
        self._path = path
        self._lock = path.with_name(f"{path.name}.lock")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._counted = _Counted()
        self._in_turn = InTurn("the history file")

    async def append(self, *closed: ClosedApplication) -> None:
        lines = [closed_to_json(one).encode() + b"\n" for one in closed]
        await self._in_turn.do(lambda: self._append(lines))

    async def read(self, limit: int) -> list[ClosedApplication]:
        """At most `max_entries`."""
        limit = min(checked_limit(limit), self._max_entries)
        return await self._in_turn.do(lambda: self._latest(limit))

    async def aclose(self) -> None:
        """There is nothing to close: a file is open only while it is used."""

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _append(self, lines: Sequence[bytes]) -> None:
        with locked(self._lock):
            for line in lines:
                self._append_line(line)

    def _append_line(self, line: bytes) -> None:
        if self._is_full(len(line)):
            room = self._max_bytes // 2 - len(line)
            kept = list(islice(_latest_lines(self._path, room), self._max_entries - 1))
            replace(self._path, b"".join(old + b"\n" for old in reversed(kept)))
        with open(self._path, "a+b", buffering=0, opener=owner_only) as file:
            num_bytes = os.fstat(file.fileno()).st_size
            if num_bytes and os.pread(file.fileno(), 1, num_bytes - 1) != b"\n":
                line = b"\n" + line  # somebody died in the middle of a line
            if file.write(line) < len(line):
                raise OSError("the line was cut short")

    def _is_full(self, more_bytes: int) -> bool:
        """No room for one more line of so many bytes."""
        try:
            file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        with file:
            status, counted = os.fstat(file.fileno()), self._counted
            if status.st_size + more_bytes >= self._max_bytes:
                return True
            if counted.file != (status.st_dev, status.st_ino) or counted.num_bytes > status.st_size:
                counted = _Counted((status.st_dev, status.st_ino))
            file.seek(counted.num_bytes)
            while block := file.read(_BLOCK_BYTES):
                counted.num_bytes += len(block)
                counted.num_lines += block.count(b"\n")
            self._counted = counted
            return counted.num_lines + 1 >= 2 * self._max_entries

    def _latest(self, limit: int) -> list[ClosedApplication]:
        latest = list(islice(readable(_latest_lines(self._path, self._max_bytes)), limit))
        latest.reverse()
        return latest


def _latest_lines(path: Path, num_bytes: int) -> Iterator[bytes]:
    """Of the file's last `num_bytes`, the last line first, without those that are too long to be ours."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with file:
        end = os.fstat(file.fileno()).st_size
        first = max(0, end - num_bytes)
        begun = b""
        while end > first:
            start = max(first, end - _BLOCK_BYTES)
            # A line that is too long stays so when its end is cut, and no rubbish takes more memory than this.
            begun, *lines = (os.pread(file.fileno(), end - start, start) + begun[: MAX_BYTES + 1]).split(b"\n")
            yield from (line for line in reversed(lines) if 0 < len(line) <= MAX_BYTES)
            end = start
        if first == 0 and 0 < len(begun) <= MAX_BYTES:  # else perhaps half a line
            yield begun
