"""Is it flat? What the series of samples says."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

WARM_SHARE = 0.2
"""Of the samples: caches fill, the record of closed applications comes to its bound."""
TOLERANCE = 0.05
_FEWEST = 3
"""Samples in a quarter."""

KEY_SLACK = 50
"""On average: records of applications and the list of those open are read one after the other."""
IDLE_S = 60.0
"""`applications.idle_close_s`. One is closed when it was idle for so long; if the store was away, some time later."""

Row = dict[str, Any]

SHOWN: Mapping[str, tuple[str, Callable[[Row], float], str]] = {
    "resident_mib": ("memory of the gateway, MiB", lambda row: row["resident_mib"], ".1f"),
    "files": ("open files", lambda row: row["files"], ".0f"),
    "own_files": ("the same without calls' connections", lambda row: own_files(row), ".0f"),
    "threads": ("threads", lambda row: row["threads"], ".0f"),
    "open_applications": ("open applications", lambda row: row["open_applications"], ",.0f"),
    "application_keys": ("Redis keys of applications", lambda row: row["keys"].get("application", 0), ",.0f"),
    "link_keys": ("Redis keys of links", lambda row: row["keys"].get("link", 0), ",.0f"),
    "other_keys": ("other Redis keys", lambda row: _others(row), ",.0f"),
    "redis_mib": ("memory of Redis, MiB", lambda row: row["redis_mib"], ".1f"),
    "series": ("metric series", lambda row: row["series"], ",.0f"),
    "label_values": ("label values", lambda row: row["label_values"], ".0f"),
}
_FLAT: Mapping[str, float] = {
    "resident_mib": 0,
    "own_files": 5,
    "threads": 2,
    "link_keys": 0,
    "other_keys": 3,
    "redis_mib": 0.5,
    "series": 30,
    "label_values": 8,
}
"""What is to be flat within TOLERANCE, or by so many: where few are counted one more is a large share, and an outcome
that had not happened before has series of its own."""


def own_files(row: Row) -> int:
    """Besides one for each connection of a client and one for each call in the engine."""
    return int(row["files"]) - int(row["connections"]) - int(row["running"])


def _others(row: Row) -> int:
    return sum(number for sort, number in row["keys"].items() if sort not in ("application", "link"))


def warm(samples: Sequence[Row]) -> Sequence[Row]:
    return samples[int(len(samples) * WARM_SHARE) :]


def ends(samples: Sequence[Row], name: str) -> tuple[float, float] | None:
    """Means of the first quarter after warm-up and of the last; None for too few samples."""
    values = [SHOWN[name][1](row) for row in warm(samples)]
    quarter = len(values) // 4
    return (fmean(values[:quarter]), fmean(values[-quarter:])) if quarter >= _FEWEST else None


def faults(report: Row, stays: Sequence[str]) -> list[str]:
    """What is not as it should be, in words; nothing where all is flat. `stays`: sorts of keys without time to live."""
    samples = report["samples"]
    found = []
    for name, slack in _FLAT.items():
        means = ends(samples, name)
        if means is None:
            return ["too few samples to tell"]
        if means[1] - means[0] > max(slack, means[0] * TOLERANCE):
            found.append(f"{SHOWN[name][0]} grew from {means[0]:,.1f} to {means[1]:,.1f}")
    may_be_open = report["applications"] / report["seconds"] * 3 * IDLE_S
    most_open = max(row["open_applications"] for row in samples)
    if most_open > may_be_open:
        found.append(f"{most_open:,} applications are open, of {may_be_open:,.0f} that began within three idle times")
    beyond = fmean(row["keys"].get("application", 0) - row["open_applications"] for row in warm(samples))
    if beyond > KEY_SLACK:
        found.append(f"Redis has records of {beyond:,.0f} applications that are not open")
    return found + [f"keys of the sort {sort!r} have no time to live" for sort in stays]
