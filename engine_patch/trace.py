"""An optional diary of scheduling decisions, for proving order: JSON lines, one event each.

    {"iteration": 7, "event": "scheduled", "call_id": "call-…", "application_id": "a", "rank": 12, "best_waiting": 15}

`best_waiting` (on `scheduled`, once per request) is the smallest rank still waiting and ready after that scheduling, or
null. `running` (on `preempted`) lists [call_id, rank] of all that ran when the victim was chosen, itself included.
Enabled by JUSTITIA_ENGINE_TRACE=/path/of/file; without it there is no object at all, so it costs nothing.
"""

import json
from pathlib import Path
from typing import Any, Literal

TRACE_VARIABLE = "JUSTITIA_ENGINE_TRACE"

Event = Literal["added", "scheduled", "preempted", "finished", "reranked"]


class Trace:
    def __init__(self, path: Path) -> None:
        # Line-buffered, so that a reader of the file sees whole events while the engine runs.
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, iteration: int, event: Event, call_id: str, application_id: str, rank: int, **details: Any) -> None:
        line = {
            "iteration": iteration,
            "event": event,
            "call_id": call_id,
            "application_id": application_id,
            "rank": rank,
            **details,
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()
