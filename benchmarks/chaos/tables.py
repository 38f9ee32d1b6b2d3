"""From benchmarks/results/chaos.json to the table of docs/runbook.md: python -m benchmarks.chaos.tables"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.chaos.callers import ANSWERED
from benchmarks.markdown import replaced, table

RESULT = Path(__file__).parents[1] / "results" / "chaos.json"
PAGE = Path(__file__).parents[2] / "docs" / "runbook.md"

Rows = Sequence[dict[str, Any]]


def written() -> None:
    """Bring the page up to date with the results that are there."""
    PAGE.write_text(with_chaos(PAGE.read_text(), json.loads(RESULT.read_text())))


def with_chaos(page: str, report: dict[str, Any]) -> str:
    return replaced(page, "chaos", chaos_table(report))


def chaos_table(report: dict[str, Any]) -> str:
    rows = report["rows"]
    parts = list(dict.fromkeys(row["killed"] for row in rows))
    columns = [[row for row in rows if row["killed"] == part] for part in parts]
    lines = [
        ["alert", *(chosen[0]["alert"] for chosen in columns)],
        ["`/readyz` says so, s", *(_latest(chosen, "seen", "readyz_s") for chosen in columns)],
        ["console and `justitia top`, s", *(_latest(chosen, "seen", "overview_s") for chosen in columns)],
        ["a line in the gateway's log, s", *(_latest(chosen, "seen", "log_s") for chosen in columns)],
        ["the alert's expression is true, s", *(_latest(chosen, "seen", "expression_s") for chosen in columns)],
        ["the alert fires, s", *(_latest(chosen, "seen", "fired_s") for chosen in columns)],
        ["panel: before, during, after", *(_panel(chosen) for chosen in columns)],
        ["other alerts that fired", *(_others(chosen) for chosen in columns)],
        ["calls until the next answer", *(_calls(chosen) for chosen in columns)],
        ["answers a second: before, while it was away", *(_rates(chosen) for chosen in columns)],
        ["started again, s", *(_latest(chosen, "back", "restarted_s") for chosen in columns)],
        ["`/readyz` is well, s", *(_latest(chosen, "back", "readyz_s") for chosen in columns)],
        ["the next call is answered, s", *(_latest(chosen, "back", "answered_s") for chosen in columns)],
        ["nobody is paged any more, s", *(_latest(chosen, "back", "silent_s") for chosen in columns)],
        ["pairs of applications that changed places", *(_order(chosen) for chosen in columns)],
    ]
    return f"{table(['killed', *parts], lines)}\n\n{_said(report)}"


def _latest(rows: Rows, what: str, moment: str) -> str:
    times = [row[what][moment] for row in rows if moment in row[what]]
    return f"{max(times):.1f}" if times else "–"


def _panel(rows: Rows) -> str:
    panel = rows[-1]["panel"]
    return f"*{panel['title']}*: {', '.join(_number(panel[name]) for name in ('before', 'during', 'after'))}"


def _number(value: float | None) -> str:
    return "no data" if value is None else f"{value:g}"


def _others(rows: Rows) -> str:
    names = sorted({name for row in rows for name in row["alerts"]} - {rows[0]["alert"]})
    return ", ".join(names) or "none"


def _calls(rows: Rows) -> str:
    ended: Counter[str] = Counter()
    for row in rows:
        ended.update(row["calls"])
    rest = [f"{number:,} {how}" for how, number in sorted(ended.items()) if how != ANSWERED]
    return ", ".join([f"{ended[ANSWERED]:,} {ANSWERED}", *rest])


def _rates(rows: Rows) -> str:
    return ", ".join(f"{mean(row['answers_per_s'][when] for row in rows):.1f}" for when in ("before", "away"))


def _order(rows: Rows) -> str:
    applications = max(row["order"]["applications"] for row in rows)
    return f"{sum(row['order']['inverted_pairs'] for row in rows)} (of {applications} applications)"


def _said(report: dict[str, Any]) -> str:
    ended = report["ended"]
    calls = ", ".join(f"{number:,} {how}" for how, number in sorted(ended.items()))
    silent = report["begun"] - sum(ended.values())
    return (
        f"{report['callers']} applications called without a pause, every second call a stream, with no retries; "
        f"{report['rounds']} rounds, the latest of each moment. Seconds count from `kill -9`. All calls of the run: "
        f"{calls}; {silent} without an end."
    )


if __name__ == "__main__":
    written()
