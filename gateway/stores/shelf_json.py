"""An artifact shelf's mark as one JSON object: what a folder and a Redis keep of it."""

from typing import Any

from gateway.ports import ShelfMark
from gateway.stores.shelf import MAX_KEPT, MAX_ROLLED_BACK, RUNNING_MEAN, Shelf, is_version
from gateway.stores.strict_json import checked_list, object_from, written

FORMAT = 1
MAX_BYTES = 4096
"""Twenty-odd versions take a sixth of it."""

_FIELDS = frozenset({"version", "previous", "rolled_back", "kept"})


def shelf_to_json(shelf: Shelf) -> bytes:
    mark = shelf.mark
    return written(
        {
            "format": FORMAT,
            "version": mark.version,
            "previous": mark.previous,
            "rolled_back": mark.rolled_back,
            "kept": shelf.kept,
        }
    ).encode()


def shelf_from_json(text: bytes) -> Shelf:
    """Raises ValueError for what the rules of `shelf` cannot have led to, a version both in use and rolled back too."""
    value = object_from(text, max_bytes=MAX_BYTES, format_number=FORMAT, fields=_FIELDS)
    version, previous = value["version"], value["previous"]
    if version != RUNNING_MEAN:
        _checked_version(version)
    if previous is not None:
        _checked_version(previous)
    rolled_back = _versions("rolled_back", value["rolled_back"], MAX_ROLLED_BACK)
    if previous == version or {version, previous} & set(rolled_back):
        raise ValueError("a mark at odds with itself")
    return Shelf(ShelfMark(version, previous, rolled_back), _versions("kept", value["kept"], MAX_KEPT))


def _versions(what: str, value: Any, longest: int) -> tuple[str, ...]:
    return tuple(_checked_version(version) for version in checked_list(what, value, longest))


def _checked_version(value: object) -> str:
    if not isinstance(value, str) or not is_version(value):
        raise ValueError("a version must be 16 hex digits")
    return value
