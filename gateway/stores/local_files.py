"""Files that the processes of one machine share: nobody reads half a file, and of writers one is at it at a time."""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from gateway.errors import StoreUnavailable

_OWNER_ONLY = 0o600
_LOCK_WAIT_S = 10.0
"""Somebody else's rewriting takes a second or two on a slow disk."""
_LOCK_LOOK_S = 0.01

_T = TypeVar("_T")


class InTurn:
    """File work in a thread, one at a time: a slow disk takes one thread of the pool, not all."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._turn = asyncio.Lock()

    async def do(self, work: Callable[[], _T]) -> _T:
        """Raises StoreUnavailable where files cannot be read or written.

        When the caller is cancelled `work` ends all the same, perhaps beside the next: let it lock what it writes.
        """
        async with self._turn:
            try:
                return await asyncio.to_thread(work)
            except OSError as error:
                raise StoreUnavailable(f"{self._what} cannot be used: {type(error).__name__}") from error


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Alone among the threads and processes of this machine that lock the same file. The folder is made if it is not
    there, the file stays. Raises OSError, TimeoutError if somebody else has it for too long."""
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    try:
        _take(descriptor)
        yield
    finally:
        os.close(descriptor)  # which also unlocks it, as the end of the process does


def _take(descriptor: int) -> None:
    give_up_at = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise TimeoutError("another process holds the lock") from None
        time.sleep(_LOCK_LOOK_S)


def owner_only(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that it makes is for nobody else to read."""
    return os.open(path, flags, _OWNER_ONLY)


def replace(path: Path, content: bytes) -> None:
    """The file is the old one or the new one, after a crash too, which may leave `<name>.new` beside it.
    For one writer at a time. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(new, "xb", opener=owner_only) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The new name too is on the disk then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_at_most(path: Path, max_bytes: int) -> bytes | None:
    """None: not there, or larger. Raises OSError."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    return content if len(content) <= max_bytes else None
