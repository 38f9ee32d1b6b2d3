"""What the engine remembers of finished requests: a ring of records numbered without gaps.

A reader asks for `since=N` and gets the records from N on, at most a reply's worth, and the number to ask for next. One
that fell behind the ring sees a `first_sequence` larger than its N and knows how many it missed.
"""

from collections import deque
from itertools import islice
from typing import Any, NamedTuple

MAX_RECORDS_HELD = 65_536
"""About 20 MB at most, and half a minute of a reader's absence at 2,000 calls a second."""

MAX_RECORDS_PER_REPLY = 4096


class FinishedRecord(NamedTuple):
    """One request that left the engine, in whatever way. `service` in token·iterations.

    A named tuple: the engine waits while thousands of these are turned into dictionaries, which is quickest so.
    """

    sequence: int
    call_id: str
    application_id: str
    service: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    preemptions: int
    reason: str


class FinishedRing:
    def __init__(self, max_held: int = MAX_RECORDS_HELD, max_per_reply: int = MAX_RECORDS_PER_REPLY) -> None:
        self._records: deque[FinishedRecord] = deque(maxlen=max_held)
        self._max_per_reply = max_per_reply
        self.end = 0
        """The sequence number the next record will get."""

    @property
    def first(self) -> int:
        """The oldest sequence number still held (`end` when none is)."""
        return self.end - len(self._records)

    def append(self, record: FinishedRecord) -> None:
        self._records.append(record)
        self.end += 1

    def since(self, sequence: int) -> tuple[list[dict[str, Any]], int]:
        """Records from `sequence` on, oldest first, and the number to ask for next.

        A `sequence` beyond the end (a reader that knew an earlier incarnation) is answered from the end.
        """
        start = min(max(sequence, self.first), self.end)
        skip = start - self.first
        chosen = islice(self._records, skip, skip + self._max_per_reply)
        records = [record._asdict() for record in chosen]
        return records, start + len(records)
