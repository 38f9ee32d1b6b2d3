"""Recorded applications and arrival times: the files, read and checked line by line.

An application is a line of JSON, an arrival a row of CSV; either file may be gzipped. A file that is wrong anywhere is
refused with the place and the reason: half a workload would still give a table, and nobody would see what it lacks.
"""

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

_GZIP_MAGIC = b"\x1f\x8b"

Message = Mapping[str, str]
"""One chat message: `role` and `content`."""


class TraceError(Exception):
    """A file that cannot be used: which, where (lines count from 1; 0 is the file as a whole) and why."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}, line {line}: {reason}" if line else f"{path}: {reason}")


class _Invalid(ValueError):
    """What is wrong with one line."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call as it was recorded; lengths are in the recording's tokens, not in those of the model at hand."""

    call_id: int
    after: tuple[int, ...]
    """Calls that must have finished before this one starts."""
    extends: int | None
    """The call whose prompt and completion this prompt begins with."""
    delay_s: float
    """Between the last of `after` and this call: a tool's time, or a person's."""
    prompt_tokens: int
    completion_tokens: int
    append: tuple[Message, ...] | None = field(default=None, hash=False)  # dicts have no hash; they are compared
    """What this prompt adds to the one it extends; None where the recording has no text."""
    completion: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedApplication:
    app_id: str
    kind: str
    calls: tuple[RecordedCall, ...]
    """In an order in which they can run: every call stands after those it waits for or extends."""
    input_text: str | None = None
    """What the application was asked; prompts are made from it where the calls have no text."""
    tenant: str | None = None
    """Whose it is; None: nobody else's."""


def read_applications(path: Path) -> list[RecordedApplication]:
    """Every application of the file. Raises TraceError."""
    applications = []
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            applications.append(_application(line))
        except _Invalid as error:
            raise TraceError(path, number, str(error)) from None
    if not applications:
        raise TraceError(path, 0, "holds no application")
    return applications


def read_arrivals(path: Path) -> list[float]:
    """Seconds from the first arrival, one a row, never falling. Raises TraceError."""
    arrivals_s: list[float] = []
    column = 0
    for number, line in _lines(path):
        row = next(csv.reader([line]), [])
        if number == 1:
            if "arrival_s" not in row:
                raise TraceError(path, 1, "the header has no column arrival_s")
            column = row.index("arrival_s")
        elif row:
            try:
                arrivals_s.append(_arrival_s(row, column, arrivals_s))
            except _Invalid as error:
                raise TraceError(path, number, str(error)) from None
    if not arrivals_s:
        raise TraceError(path, 0, "holds no arrival")
    return arrivals_s


def _arrival_s(row: list[str], column: int, earlier_s: list[float]) -> float:
    if len(row) <= column:
        raise _Invalid("arrival_s is missing")
    try:
        arrival_s = float(row[column])
    except ValueError:
        raise _Invalid(f"arrival_s is no number: {row[column]!r}") from None
    if not math.isfinite(arrival_s) or arrival_s < 0:
        raise _Invalid(f"arrival_s is {row[column]}")
    if earlier_s and arrival_s < earlier_s[-1]:
        raise _Invalid(f"arrival_s {arrival_s} is earlier than the line before it ({earlier_s[-1]})")
    return arrival_s


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, unpacked if they are packed. What goes wrong on the way is a TraceError of the line it hit."""
    number = 0
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == _GZIP_MAGIC
        with gzip.open(path, "rt", encoding="utf-8") if is_gzip else path.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise TraceError(path, number + 1, "the gzip file is damaged or cut off") from None
    except UnicodeDecodeError:
        raise TraceError(path, number + 1, "is not UTF-8 text") from None
    except OSError as error:
        raise TraceError(path, 0, error.strerror or str(error)) from None


def _application(line: str) -> RecordedApplication:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _Invalid(f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _Invalid("is not a JSON object")
    app_id, kind = _text(value, "app_id", "the application"), _text(value, "app_type", "the application")
    raw_calls = value.get("calls")
    if not isinstance(raw_calls, list) or not raw_calls:
        raise _Invalid("calls is missing or empty")
    calls = [_call(call) for call in raw_calls]
    input_text = value.get("input_text")
    if input_text is not None and not isinstance(input_text, str):
        raise _Invalid("input_text is not text")
    tenant = None if value.get("tenant") is None else _text(value, "tenant", "the application")
    if input_text is None and any(call.append is None for call in calls):
        raise _Invalid("has neither input_text nor append and completion in every call")
    return RecordedApplication(app_id, kind, _runnable_order(calls), input_text, tenant)


def _call(value: object) -> RecordedCall:
    if not isinstance(value, dict):
        raise _Invalid("a call is not a JSON object")
    call_id = _count(value, "id", "a call")
    where = f"call {call_id}"
    after = value.get("after")
    if not isinstance(after, list) or not all(type(other) is int for other in after):
        raise _Invalid(f"{where}: after is missing or not a list of call ids")
    extends = value.get("extends")
    if extends is not None and type(extends) is not int:
        raise _Invalid(f"{where}: extends is neither a call id nor null")
    append, completion = _messages(value, where), value.get("completion")
    if (append is None) != (completion is None):
        raise _Invalid(f"{where}: has only one of append and completion")
    if completion is not None and not isinstance(completion, str):
        raise _Invalid(f"{where}: completion is not text")
    return RecordedCall(
        call_id,
        tuple(after),
        extends,
        _seconds(value, "delay_s", where),
        _count(value, "prompt_tokens", where, minimum=1),
        _count(value, "completion_tokens", where, minimum=1),
        append,
        completion,
    )


def _messages(value: Mapping[str, object], where: str) -> tuple[Message, ...] | None:
    raw = value.get("append")
    if raw is None:
        return None
    if not isinstance(raw, list):
        raise _Invalid(f"{where}: append is not a list of messages")
    for message in raw:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise _Invalid(f"{where}: a message of append lacks role or content")
    return tuple({"role": message["role"], "content": message["content"]} for message in raw)


def _text(value: Mapping[str, object], field: str, where: str) -> str:
    found = value.get(field)
    if not isinstance(found, str) or not found:
        raise _Invalid(f"{where}: {field} is missing or not text")
    return found


def _count(value: Mapping[str, object], field: str, where: str, minimum: int = 0) -> int:
    found = value.get(field)
    if type(found) is not int:  # a bool is no count
        raise _Invalid(f"{where}: {field} is missing or not a whole number")
    if found < minimum:
        raise _Invalid(f"{where}: {field} is {found}")
    return found


def _seconds(value: Mapping[str, object], field: str, where: str) -> float:
    found = value.get(field)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _Invalid(f"{where}: {field} is missing or not a number")
    if not math.isfinite(found) or found < 0:
        raise _Invalid(f"{where}: {field} is {found}")
    return float(found)


def _runnable_order(calls: list[RecordedCall]) -> tuple[RecordedCall, ...]:
    by_id = {call.call_id: call for call in calls}
    if len(by_id) < len(calls):
        raise _Invalid("two calls have the same id")
    graph: dict[int, set[int]] = {}
    for call in calls:
        graph[call.call_id] = {*call.after, *([] if call.extends is None else [call.extends])}
        for other in graph[call.call_id] - by_id.keys():
            raise _Invalid(f"call {call.call_id}: there is no call {other} to follow or extend")
    try:
        return tuple(by_id[call_id] for call_id in TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = " → ".join(map(str, error.args[1]))
        raise _Invalid(f"calls wait for one another in a circle: {cycle}") from None
