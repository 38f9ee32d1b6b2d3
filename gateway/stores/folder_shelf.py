"""Trained predictors in a local folder: `<version>.safetensors`, and `in_use.json` with the mark.

A publication writes the artifact, then the mark, then removes what is too old: a crash between two of them leaves a
shelf that can be read, and at most files that the next publication removes. Writers take the lock file `lock`; readers
none. A mark that cannot be read is none: the next publication begins a new one, and what was rolled back is forgotten.
"""

import asyncio
import re
from functools import partial
from pathlib import Path

from gateway.ports import ShelfMark
from gateway.stores.local_files import InTurn, locked, read_at_most, replace
from gateway.stores.shelf import MAX_BLOB_BYTES, Shelf, is_intact, is_version, published, rolled_back, version_of
from gateway.stores.shelf_json import MAX_BYTES, shelf_from_json, shelf_to_json

_BLOB_NAME = re.compile(r"([0-9a-f]{16})\.safetensors(\.new)?", re.ASCII)
"""With `.new`: somebody died while writing it."""


class FolderShelf:
    """A `gateway.ports.ArtifactShelf` in one folder, shared by the processes of one machine. Nothing is made before the
    first publication."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = folder / "in_use.json"
        self._lock = folder / "lock"
        self._in_turn = InTurn("the artifact folder")

    async def mark(self) -> ShelfMark | None:
        shelf = await self._in_turn.do(self._read)
        return None if shelf is None else shelf.mark

    async def fetch(self, version: str) -> bytes | None:
        """None for a damaged one too."""
        return await self._in_turn.do(partial(self._fetch, version))

    async def publish(self, blob: bytes) -> ShelfMark:
        """Raises ValueError for an empty blob or one beyond MAX_BLOB_BYTES. One that is in use already is written
        again: it may have been damaged."""
        version = await asyncio.to_thread(version_of, blob)
        return (await self._in_turn.do(partial(self._publish, blob, version))).mark

    async def roll_back(self, version: str) -> ShelfMark | None:
        """None: there is no mark."""
        shelf = await self._in_turn.do(partial(self._roll_back, version))
        return None if shelf is None else shelf.mark

    async def aclose(self) -> None:
        """There is nothing to close: a file is open only while it is used."""

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _read(self) -> Shelf | None:
        content = read_at_most(self._mark, MAX_BYTES)
        try:
            return None if content is None else shelf_from_json(content)
        except ValueError:
            return None

    def _blob(self, version: str) -> Path:
        return self._folder / f"{version}.safetensors"

    def _fetch(self, version: str) -> bytes | None:
        blob = read_at_most(self._blob(version), MAX_BLOB_BYTES) if is_version(version) else None
        return blob if blob is not None and is_intact(blob, version) else None

    def _publish(self, blob: bytes, version: str) -> Shelf:
        with locked(self._lock):
            before = self._read()
            shelf = published(before, version)
            if shelf.mark.version != version:
                return shelf  # rolled back
            if self._fetch(version) is None:
                replace(self._blob(version), blob)
            if shelf != before:
                replace(self._mark, shelf_to_json(shelf))
            self._remove_all_but(shelf)
            return shelf

    def _remove_all_but(self, shelf: Shelf) -> None:
        for path in list(self._folder.iterdir()):
            name = _BLOB_NAME.fullmatch(path.name)
            if name and (name[2] or name[1] not in shelf.kept):
                path.unlink(missing_ok=True)

    def _roll_back(self, version: str) -> Shelf | None:
        with locked(self._lock):
            before = self._read()
            if before is None:
                return None
            shelf = rolled_back(before, version)
            if shelf != before:
                replace(self._mark, shelf_to_json(shelf))
            return shelf
