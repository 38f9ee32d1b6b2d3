"""Log lines on stderr: time, level, where, what; as text, or one JSON object a line. No prompt text, ever.

What clients choose can stand in a line, and must not make a second one, nor move a terminal's cursor: whatever is not
printable is escaped, and every line of a traceback begins with a bar.
"""

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Literal, TextIO

import orjson

Format = Literal["text", "json"]

_PLAIN = re.compile(r"[A-Za-z0-9._~:@+/%-]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
"""Control characters, and what breaks or reverses a line."""


def set_up(level: str = "INFO", form: Format = "text", worker: int | None = None) -> None:
    """For the whole process; `worker`: its number where it is one of several."""
    handler = Lines()
    handler.setFormatter(JsonLines(worker) if form == "json" else TextLines(worker))
    logging.basicConfig(level=level, handlers=[handler])
    # Which thread and which process is in no line, and costs as much as making the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # One line a request from the upstream client says nothing that the metrics do not.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class Lines(logging.StreamHandler[TextIO]):
    """To stderr. A line that others follow at once (`is_followed` of its record) waits for the last of them: a system
    call each would take as long as making them."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.append(self.format(record) + self.terminator)
            if not getattr(record, "is_followed", False):
                lines, self._waiting = self._waiting, []
                self.stream.write("".join(lines))
                self.flush()
        except Exception:  # noqa: BLE001 – as every handler does
            self.handleError(record)


class TextLines(logging.Formatter):
    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._by = "" if worker is None else f"worker {worker} "

    def format(self, record: logging.LogRecord) -> str:
        said = [record.getMessage(), *(f"{name}={_shown(value)}" for name, value in _fields(record).items())]
        line = f"{self.formatTime(record)} {record.levelname} {self._by}{record.name}: {escaped(' '.join(said))}"
        return "".join([line, *(f"\n  | {escaped(part)}" for part in _traceback(self, record))])


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `message`; `worker` and `exception` where there are any; a line's own fields."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._of_all: dict[str, object] = {} if worker is None else {"worker": worker}
        self._second = 0
        self._time = ""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self._time_of(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._of_all,
            **_fields(record),
        }
        traceback = _traceback(self, record)
        if traceback:
            line["exception"] = "\n".join(traceback)
        return _in_ascii(line)

    def _time_of(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._time}.{int(1000 * (created - second)):03d}Z"


def escaped(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    """What was given with `extra={"fields": …}`, a dictionary."""
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _in_ascii(line: Mapping[str, object]) -> str:
    """So that nothing in it is more than text, whatever shows it."""
    try:
        text = orjson.dumps(line, default=str).decode()
    except TypeError:  # half a character, or a number of more than 64 bits
        text = ""
    if not text or not text.isascii():
        text = json.dumps(line, default=str)
    return text.replace("\x7f", "\\u007f")


def _shown(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info and not record.stack_info:
        return []
    text = formatter.formatException(record.exc_info) if record.exc_info else ""
    if record.stack_info:
        text += "\n" + formatter.formatStack(record.stack_info)
    return text.strip("\n").split("\n")
