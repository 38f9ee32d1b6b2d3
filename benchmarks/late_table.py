"""The late rule's table in docs/algorithm.md from the raw JSON: python benchmarks/late_table.py. A test compares."""

import json
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "late_rule.json"


def late_table(report: dict[str, Any]) -> str:
    """Mean completion time relative to exact predictions with frozen tags; in brackets the worst ratio to vtc."""
    cells = {(row["rule"], row["prediction"]): row for row in report["summary"]}
    predictions = list(dict.fromkeys(prediction for _, prediction in cells))
    rules = [rule for rule in dict.fromkeys(rule for rule, _ in cells) if rule not in ("vtc", "srjf")]
    lines = ["| rule | " + " | ".join(predictions) + " |", "|---|" + "--:|" * len(predictions)]
    for rule in rules:
        row = [cells[rule, prediction] for prediction in predictions]
        values = [f"{cell['relative_mean_jct']:.2f} ({cell['worst_ratio_to_vtc']:.0f}x)" for cell in row]
        lines.append(f"| {rule} | " + " | ".join(values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(late_table(json.loads(RESULT.read_text())))
