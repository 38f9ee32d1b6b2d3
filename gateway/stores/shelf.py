"""The rules of an artifact shelf, whatever it is made of: what a publication or a roll-back makes of what was there.

`rolled_back` and `kept` are bounded, so a shelf is described in little; and the description is all there is to know of
it, so that two who change it at the same time notice by comparing descriptions.
"""

import hashlib
import re
from dataclasses import dataclass, replace

from gateway.ports import ShelfMark

MAX_BLOB_BYTES = 64 * 2**20
MAX_KEPT = 4
MAX_ROLLED_BACK = 16
RUNNING_MEAN = ""
"""The version in use when nothing trained is."""

_VERSION = re.compile(r"[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shelf:
    mark: ShelfMark
    kept: tuple[str, ...]
    """Versions whose blobs are there, latest published last."""


def version_of(blob: bytes) -> str:
    """Some 50 ms for the largest: not on the event loop. Raises ValueError for an empty or too large one."""
    if not 0 < len(blob) <= MAX_BLOB_BYTES:
        raise ValueError(f"an artifact must have between 1 and {MAX_BLOB_BYTES} bytes, got {len(blob)}")
    return hashlib.sha256(blob).hexdigest()[:16]


def is_version(text: str) -> bool:
    """Also what makes it safe as part of a file's name or of a key."""
    return _VERSION.fullmatch(text) is not None


def is_intact(blob: bytes, version: str) -> bool:
    return 0 < len(blob) <= MAX_BLOB_BYTES and version_of(blob) == version


def published(shelf: Shelf | None, version: str) -> Shelf:
    """The same shelf if `version` is in use already or was rolled back."""
    if shelf is None:
        return Shelf(ShelfMark(version, None), (version,))
    mark = shelf.mark
    if version == mark.version or version in mark.rolled_back:
        return shelf
    previous = None if mark.version == RUNNING_MEAN else mark.version
    kept = (*(other for other in shelf.kept if other != version), version)
    spared = {version, previous}
    removable = [other for other in kept if other not in spared]
    removed = set(removable[: max(0, len(kept) - MAX_KEPT)])
    return Shelf(
        replace(mark, version=version, previous=previous), tuple(other for other in kept if other not in removed)
    )


def rolled_back(shelf: Shelf, version: str) -> Shelf:
    """The same shelf unless `version` is in use."""
    mark = shelf.mark
    if version == RUNNING_MEAN or version != mark.version:
        return shelf
    never_again = (*mark.rolled_back, version)[-MAX_ROLLED_BACK:]
    return replace(shelf, mark=ShelfMark(mark.previous or RUNNING_MEAN, None, never_again))
