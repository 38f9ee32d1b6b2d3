"""The README's table from the raw JSON: python benchmarks/demo_table.py [FILE]. A test demands that they agree."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "demo_traces.json"


def demo_table(report: dict[str, Any]) -> str:
    policies: list[str] = report["settings"]["policies"]
    first = policies[0]
    kinds = sorted({row["kind"] for row in report["summary"] if row["kind"]})
    lines = ["| | " + " | ".join(policies) + f" | {first} ÷ {policies[-1]} |", "|---|" + "--:|" * (len(policies) + 1)]
    for label, figure in (("mean", "mean_jct_s"), ("P90", "p90_jct_s")):
        for kind in (None, *kinds):
            values = [_summary(report, policy, kind)[figure] for policy in policies]
            name = f"{label} completion time{'' if kind is None else f', `{kind}`'}"
            lines.append(_row(name, values, "s"))
    for label, values, unit in _engine_rows(report, policies):
        lines.append(_row(label, values, unit))
    return "\n".join(lines)


def _engine_rows(report: dict[str, Any], policies: list[str]) -> list[tuple[str, list[float], str]]:
    def mean(policy: str, of: Any) -> float:
        return statistics.fmean(of(run) for run in report["runs"] if run["policy"] == policy)

    return [
        ("all done after", [mean(p, lambda run: run["makespan_s"]) for p in policies], "s"),
        ("KV memory in use, mean", [100 * mean(p, lambda run: run["engine"]["kv_usage_mean"]) for p in policies], "%"),
        ("prompt tokens from prefix cache", [100 * mean(p, _hits) for p in policies], "%"),
    ]


def _hits(run: dict[str, Any]) -> float:
    return float(run["engine"]["prefix_hit_share"])


def _row(name: str, values: list[float], unit: str) -> str:
    ratio = f"{values[0] / values[-1]:.2f}" if unit == "s" else ""
    return f"| {name} | " + " | ".join(f"{value:.0f} {unit}" for value in values) + f" | {ratio} |"


def _summary(report: dict[str, Any], policy: str, kind: str | None) -> dict[str, Any]:
    found: dict[str, Any] = next(r for r in report["summary"] if r["policy"] == policy and r["kind"] == kind)
    return found


if __name__ == "__main__":
    print(demo_table(json.loads((Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT).read_text())))
