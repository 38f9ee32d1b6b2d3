"""From benchmarks/results/soak.json to the table of docs/speed.md: python -m benchmarks.soak.tables"""

import json
from pathlib import Path

from benchmarks.markdown import replaced, table
from benchmarks.soak.verdict import SHOWN, Row, ends, warm

RESULT = Path(__file__).parents[1] / "results" / "soak.json"
PAGE = Path(__file__).parents[2] / "docs" / "speed.md"


def written() -> None:
    """Bring the page up to date with the result that is there."""
    PAGE.write_text(with_soak(PAGE.read_text(), json.loads(RESULT.read_text())))


def with_soak(page: str, report: Row) -> str:
    return replaced(page, "steady", soak_table(report))


def soak_table(report: Row) -> str:
    samples = report["samples"]
    lines = []
    for name, (label, value, form) in SHOWN.items():
        means = ends(samples, name)
        if means is None:
            return "Too short a run to tell."
        first, last = means
        largest = max(value(row) for row in warm(samples))
        growth = f"{last / first - 1:+.1%}" if first else "–"
        lines.append([label, format(first, form), format(last, form), growth, format(largest, form)])
    head = ["after warm-up", "first quarter", "last quarter", "growth", "largest"]
    return "\n\n".join((table(head, lines), _ended(report), _verdict(report)))


def _ended(report: Row) -> str:
    ended = report["ended"]
    calls = sum(ended.values())
    wrong = [f"{number:,} “{how}”" for how, number in sorted(ended.items()) if how not in ("answered", "left")]
    seconds = report["seconds"]
    return (
        f"{calls:,} calls ({report['streams'] / calls:.0%} streams, {report['unnamed'] / calls:.0%} unnamed) of "
        f"{report['applications']:,} applications in {seconds / 60:.0f} minutes, {calls / seconds:.0f} a second: "
        f"{ended['answered']:,} answered, {ended.get('left', 0):,} left by their clients, "
        f"{', '.join(wrong) or 'nothing else'}. The engine was killed at {report['engine_killed_at_s']:.0f} s and was "
        f"back {report['engine_away_s']:.0f} s later."
    )


def _verdict(report: Row) -> str:
    return "Not flat: " + "; ".join(report["faults"]) + "." if report["faults"] else "Flat."


if __name__ == "__main__":
    written()
