"""Server-sent events on bytes: whole events out of chunks cut anywhere.

An event ends with an empty line; a line ends with CR LF, LF or CR. Nothing is decoded and nothing changed: what comes
out, joined, is what went in. A CR at the end of what has arrived may be half of a CR LF and is waited for.
"""

import re

MAX_EVENT_BYTES = 2**20
"""A longer event (a prompt's token ids, say) passes in pieces: there is a bound to what is held, not to what passes."""

_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_MAX_UNSEEN_BYTES = 3
"""The longest beginning of an event's end that can be cut off: CR LF CR."""


class EventSplitter:
    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = b""
        self._is_inside_long_event = False

    @property
    def is_between_events(self) -> bool:
        """Nothing of an event has come that was not given back with its end."""
        return not self._rest and not self._is_inside_long_event

    def feed(self, chunk: bytes) -> list[tuple[bytes, bool]]:
        """Pairs (bytes, is one whole event), in order."""
        data = self._rest + chunk if self._rest else chunk
        pieces: list[tuple[bytes, bool]] = []
        begin = 0
        for end in _EVENT_END.finditer(data, max(0, len(self._rest) - _MAX_UNSEEN_BYTES)):
            if end.end() == len(data) and data.endswith(b"\r"):
                break
            pieces.append((data[begin : end.end()], not self._is_inside_long_event))
            begin, self._is_inside_long_event = end.end(), False
        self._rest = data[begin:]
        if len(self._rest) > self._max_event_bytes:
            pieces.append((self._rest[:-_MAX_UNSEEN_BYTES], False))
            self._rest, self._is_inside_long_event = self._rest[-_MAX_UNSEEN_BYTES:], True
        return pieces

    def end(self) -> bytes:
        """What has come of an event that was not finished."""
        rest, self._rest = self._rest, b""
        return rest


def event_data(event: bytes) -> bytes:
    """The value of the event's `data` field."""
    lines = (line for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)
