"""From benchmarks/results/gateway.json to the tables of docs/speed.md: python -m benchmarks.gateway.tables

The run itself does it at its end; a test demands that page and JSON agree.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gateway.contenders import DIRECT
from benchmarks.gateway.load import errors
from benchmarks.markdown import replaced, table

RESULT = Path(__file__).parents[1] / "results" / "gateway.json"
PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
OURS = "justitia"

_SATURATED = 0.9
"""Of the time a contender ran or waited for its core. One that did so less was not the limit: the load was, and its
figure is a lower bound."""

Rows = Sequence[dict[str, Any]]
_NOT_YET = "Not measured yet."


def written() -> None:
    """Bring the page up to date with the results that are there."""
    PAGE.write_text(with_tables(PAGE.read_text(), json.loads(RESULT.read_text())))


def with_tables(page: str, report: dict[str, Any]) -> str:
    """The page with every table; parts that were not measured say so."""
    parts: dict[str, Callable[[dict[str, Any]], str]] = {
        "peers": _peers,
        "streams": _streams,
        "soak": _soak,
        "profile": _profile,
    }
    for name, shown in parts.items():
        page = replaced(page, name, shown(report[name]) if name in report else _NOT_YET)
    return page


def _peers(found: dict[str, Any]) -> str:
    rows = found["rows"]
    head = ["one process, one core", "calls/s", f"{OURS} ÷ it", "CPU per call, ms", "streams of 32 events/s"]
    lines = [
        [
            name,
            _bounded(rows, name, "unary"),
            _ratio(rows, name),
            _median(rows, name, "unary", "cpu_ms_per_call", ".3f"),
            _bounded(rows, name, "bursts"),
            _added(rows, name),
            _median(rows, name, "unary", "memory_mib", ".0f"),
            f"{sum(errors(row) for row in rows if row['contender'] == name):,}",
        ]
        for name in _names(rows)
        if len(_of(rows, name, "latency")) > 0
    ]
    sizes = found["sizes"]
    rounds = "1 round" if sizes["rounds"] == 1 else f"medians of {sizes['rounds']} rounds in alternation"
    said = (
        f"{_whether_quick(found)}{rounds[0].upper()}{rounds[1:]}, {found['pinning']}; "
        f"{sizes['unary_s']:g} s of unary calls and {sizes['bursts_s']:g} s of streams over 32 connections, "
        f"{sizes['latency_s']:g} s at a rate; {sizes['calls_per_application']} calls share a name."
    )
    full = table([*head, "added P50 / P99, ms", "memory, MiB", "errors"], lines)
    return "\n\n".join(filter(None, (full, said, _rates(rows), _left_out(found))))


def _rates(rows: Rows) -> str:
    slow = [(name, _of(rows, name, "latency")[0]["rate"]) for name in _names(rows) if name != DIRECT]
    slower = [f"{name} at {rate:g}" for name, rate in slow if rate < 200]
    return f"Latency at 200 calls a second{', ' if slower else ''}{', '.join(slower)}."


def _streams(found: dict[str, Any]) -> str:
    rows = found["rows"]
    steps = sorted({row["streams"] for row in rows})
    head = ["contender", "streams", "events in time", "lost", "added event P50 / P99, ms", "CPU", "KiB a stream"]
    direct = {row["streams"]: row for row in rows if row["contender"] == DIRECT}
    lines = [
        [
            row["contender"],
            f"{step:,}",
            f"{row['events'] / row['due_events']:.1%}",
            f"{row['lost_events'] + row['reordered_events']:,}",
            " / ".join(f"{row[field] - direct[step][field]:.2f}" for field in ("p50_ms", "p99_ms")),
            f"{row['busy']:.0%}",
            f"{row['kib_per_stream']:.0f}",
        ]
        for step in steps
        for row in rows
        if row["streams"] == step and "busy" in row
    ]
    said = f"{_whether_quick(found)}20 events a second in each stream; {found['pinning']}."
    return "\n\n".join(filter(None, (table(head, lines), said, _left_out(found))))


def _soak(found: dict[str, Any]) -> str:
    series = found["series"]
    shown = series[:: max(1, len(series) // 8)]
    lines = [[f"{row['calls']:,}", f"{row['memory_mib']:.1f}"] for row in shown]
    growth = "too few calls to tell" if found["growth"] is None else f"{found['growth']:+.1%} after warm-up"
    said = (
        f"{_whether_quick(found)}{found['calls']:,} calls of {found['applications']:,} applications in "
        f"{found['seconds']:.0f} s, {found['errors']:,} errors; memory {growth}; "
        f"{found['applications_in_labels']} applications in metric labels."
    )
    return f"{table(['calls', 'memory of the process, MiB'], lines)}\n\n{said}"


def _profile(found: dict[str, Any]) -> str:
    lines = [[row["where"], f"{row['share']:.1%}"] for row in found["rows"] if row["share"] >= 0.001]
    return f"{table(['where the time of a call goes', 'share'], lines)}\n\n{_whether_quick(found)}{found['said']}"


def added(rows: Rows, name: str, field: str) -> float | None:
    """Against the upstream alone at the same rate, round by round; the median of the differences. None: no answer."""
    direct = {(row["round"], row["rate"]): row[field] for row in _of(rows, DIRECT, "latency")}
    answered = [row for row in _of(rows, name, "latency") if row["calls"]]
    return float(median(row[field] - direct[row["round"], row["rate"]] for row in answered)) if answered else None


def _added(rows: Rows, name: str) -> str:
    figures = (added(rows, name, field) for field in ("p50_ms", "p99_ms"))
    return " / ".join("–" if figure is None else f"{figure:.2f}" for figure in figures)


def _ratio(rows: Rows, name: str) -> str:
    """Calls a second, round by round: what moved the machine moved both."""
    theirs = {row["round"]: row["calls_per_s"] for row in _of(rows, name, "unary")}
    ours = {row["round"]: row["calls_per_s"] for row in _of(rows, OURS, "unary")}
    ratios = [ours[number] / rate for number, rate in theirs.items() if rate and number in ours]
    return f"{median(ratios):.2f}" if ratios else "–"


def _bounded(rows: Rows, name: str, measure: str) -> str:
    chosen = _of(rows, name, measure)
    if not chosen:
        return "–"
    rate = f"{median(row['calls_per_s'] for row in chosen):,.0f}"
    wanted = median((row.get("cpu_s", 0.0) + row.get("waited_s", 0.0)) / row["seconds"] for row in chosen)
    return rate if name == DIRECT or wanted >= _SATURATED else f"≥ {rate}"


def _median(rows: Rows, name: str, measure: str, field: str, form: str) -> str:
    values = [row[field] for row in _of(rows, name, measure) if field in row]
    return format(median(values), form) if values else "–"


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["contender"] for row in rows))


def _of(rows: Rows, name: str, measure: str) -> Rows:
    return [row for row in rows if row["contender"] == name and row["measure"] == measure]


def _whether_quick(found: dict[str, Any]) -> str:
    return "**A quick run, to try the benchmark: figures of no worth.** " if found["quick"] else ""


def _left_out(found: dict[str, Any]) -> str:
    return "\n".join(f"Left out: {name} ({reason})." for name, reason in found["left_out"].items())


if __name__ == "__main__":
    written()
