"""Keys in a local file, one JSON object: for the gateways of one machine, or of all that mount the same folder.

A change writes the whole file anew under the lock `<name>.lock`: two commands at once lose nothing, and a reader, who
takes no lock, never sees half. The file is its owner's alone to read; when root changes it, its owner stays.
"""

import contextlib
import os
import stat
from functools import partial
from pathlib import Path

from gateway.stores.key_book import Change, KeyBook, UnusableKeys
from gateway.stores.keys_json import MAX_BOOK_BYTES, book_from_json, book_to_json
from gateway.stores.local_files import InTurn, locked, read_at_most, replace


class FileKeys:
    """A `gateway.stores.key_book.KeyStore` in one file. Nothing is made before the first change."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._path = path
        self._in_turn = InTurn(str(path))

    async def revision(self) -> str:
        return await self._in_turn.do(self._revision)

    async def read(self) -> KeyBook | None:
        return await self._in_turn.do(self._read)

    async def change(self, change: Change) -> KeyBook:
        return await self._in_turn.do(partial(self._change, change))

    async def exposure(self) -> str | None:
        return await self._in_turn.do(self._exposure)

    async def aclose(self) -> None:
        """There is nothing to close: a file is open only while it is used."""

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _revision(self) -> str:
        """A change is another file; by another hand, the same one at another time. A new mode counts too: it may be
        readable now."""
        status = self._status()
        if status is None:
            return ""
        return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"

    def _status(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None
        except (PermissionError, NotADirectoryError) as error:
            raise self._unusable(error) from error

    def _read(self) -> KeyBook | None:
        if self._status() is None:
            return None
        try:
            content = read_at_most(self._path, MAX_BOOK_BYTES)
        except (PermissionError, IsADirectoryError) as error:
            raise self._unusable(error) from error
        if content is None:
            raise UnusableKeys(f"{self.place} is damaged: more than {MAX_BOOK_BYTES} bytes")
        try:
            return book_from_json(content)
        except ValueError as error:
            raise UnusableKeys(f"{self.place} is damaged: {error}") from error

    def _unusable(self, error: OSError) -> UnusableKeys:
        return UnusableKeys(f"{self.place} cannot be read: {error.strerror}")

    def _change(self, change: Change) -> KeyBook:
        # The file itself: a link to it stays one.
        path = Path(os.path.realpath(self._path))
        with locked(path.with_name(f"{path.name}.lock")):
            before = self._status()
            book = change(self._read() or KeyBook())
            replace(path, book_to_json(book))
            if before is not None and before.st_uid != os.geteuid():
                # Only root can, and only root's turning it into root's own would shut the gateway out.
                with contextlib.suppress(PermissionError):
                    os.chown(path, before.st_uid, before.st_gid)
            return book

    def _exposure(self) -> str | None:
        status = self._status()
        if status is None or not stat.S_IMODE(status.st_mode) & 0o077:
            return None
        done = "written" if status.st_mode & 0o022 else "read"
        return f"{self.place} can be {done} by others (chmod 600)"
