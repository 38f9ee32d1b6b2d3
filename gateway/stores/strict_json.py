"""JSON from outside, as strictly as it was written: another hand or another version may have been at it."""

import json
import sys
from collections.abc import Set
from typing import Any, NoReturn

MAX_DEPTH = 4
"""Of arrays and objects in one another, in a value that is kept as it is."""
MAX_TEXT_CHARACTERS = 256
"""Names are shorter; what is longer may be what somebody asked, and that is never kept."""

_MAX_COUNT = 2**53


def written(value: dict[str, Any]) -> str:
    """One line, in ASCII. Raises ValueError for what is no JSON."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from error


def object_from(text: bytes, *, max_bytes: int, format_number: int, fields: Set[str]) -> dict[str, Any]:
    """The object, which has exactly `fields` and `format`. Raises ValueError."""
    if len(text) > max_bytes:
        raise ValueError(f"more than {max_bytes} bytes")
    try:
        value = json.loads(text.decode(), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("arrays or objects too deep") from error
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    if type(value.get("format")) is not int or value["format"] != format_number:
        raise ValueError(f"format {format_number} expected, got {value.get('format')!r:.40}")
    if value.keys() - {"format"} != fields:
        raise ValueError(f"fields must be {sorted(fields)}")
    return value


def checked_number(what: str, value: object, least: float, most: float) -> float:
    """Raises ValueError, for true and false too."""
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator] # also refuses NaN
        raise ValueError(f"{what} must be a number between {least:g} and {most:g}, got {value!r:.40}")
    return float(value) + 0.0  # type: ignore[arg-type]


def checked_count(what: str, value: object, most: int) -> int:
    """Raises ValueError, for true and false too."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{what} must be a whole number between 0 and {most}, got {value!r:.40}")
    return value


def checked_name(what: str, value: object) -> str:
    """Raises ValueError."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"{what} must be text of at most {MAX_TEXT_CHARACTERS} characters")
    return value


def checked_list(what: str, value: object, longest: int) -> list[Any]:
    """Raises ValueError."""
    if not isinstance(value, list) or len(value) > longest:
        raise ValueError(f"{what} must be an array of at most {longest}")
    return value


def checked_plain(what: str, value: object, depth: int = MAX_DEPTH) -> None:
    """Finite numbers, names, true, false, null, and arrays and objects of them. Raises ValueError."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int | float):
        checked_number(what, value, -sys.float_info.max, sys.float_info.max)
    elif isinstance(value, str):
        checked_name(what, value)
    elif depth == 0:
        raise ValueError(f"{what}: arrays or objects too deep")
    elif isinstance(value, dict):
        for name, held in value.items():
            checked_name(what, name)
            checked_plain(what, held, depth - 1)
    elif isinstance(value, list):
        for held in value:
            if type(held) is not int or not -_MAX_COUNT <= held <= _MAX_COUNT:  # what nearly all are, without a call
                checked_plain(what, held, depth - 1)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
