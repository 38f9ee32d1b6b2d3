"""From the raw JSON to docs/results.md, its pictures and docs/prediction.md: python -m benchmarks.report

Each study has its place in the page, between markers; what stands around is written by hand. A test demands that page
and JSON agree.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.markdown import replaced, table
from benchmarks.prediction_tables import with_prediction
from benchmarks.workloads import LARGE, MEDIUM, SMALL
from gateway.fairness.shares import SHARES_NAMES
from gateway.replay.drawing import draw
from gateway.replay.records import RunRecord

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "results.md"
PREDICTION_PAGE = PAGE.parent / "prediction.md"
FIGURES = PAGE.parent / "figures"

_T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t for a two-sided 95 % interval, by number of seeds."""

_CLASSES = {"small": SMALL, "medium": MEDIUM, "large": (*LARGE, "doc_merge")}

Rows = Sequence[dict[str, Any]]


def written() -> None:
    """Bring the page and the pictures up to date with the results that are there."""
    text = PAGE.read_text()
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text())
        if "study" in report:
            text = with_tables(text, report)
            for case in report["cases"]:
                records = [
                    RunRecord.from_dict(row["record"]) for row in _of(report, case["name"], seed=0) if "record" in row
                ]
                if records:
                    draw(
                        records,
                        FIGURES / report["study"],
                        f"{case['name']}, {len(records[0].jct_s)} applications, seed 0",
                    )
    PAGE.write_text(with_cost(text))
    prediction = json.loads((RESULTS / "prediction.json").read_text())
    PREDICTION_PAGE.write_text(with_prediction(PREDICTION_PAGE.read_text(), prediction))


def with_cost(page: str) -> str:
    """The page with what deciding costs, from three files."""
    scheduler, stores = (
        json.loads((RESULTS / f"{name}.json").read_text())["rows"] for name in ("scheduler_cost", "store_cost")
    )
    events = {row["backlogged"]: row for row in scheduler if row["policy"] == "justitia"}
    pairs = {(row["store"], row["shares"], row["backlogged"]): row for row in stores}
    columns = [(store, shares) for store in ("memory", "redis") for shares in SHARES_NAMES]
    lines = [
        [
            f"{backlog:,}",
            f"{row['event_us']:.0f}",
            *(f"{pairs[*column, backlog]['arrive_serve_us']:.0f}" for column in columns),
        ]
        for backlog, row in events.items()
    ]
    head = ["backlogged applications", "scheduler, an event, µs"]
    head += [f"{store} store, {shares} shares, µs" for store, shares in columns]
    return replaced(page, "cost", table(head, lines))


def with_tables(page: str, report: dict[str, Any]) -> str:
    """The page with the study's tables between its markers."""
    tables = filter(None, (_tables(report, case) for case in report["cases"]))
    return replaced(page, report["study"], "\n\n".join(tables))


def _tables(report: dict[str, Any], case: dict[str, Any]) -> str:
    engine, recipe = case["engine"], case["recipe"]
    rows = _of(report, case["name"])
    num_seeds = len({row["seed"] for row in rows})
    head = (
        f"**{case['name'][0].upper() + case['name'][1:]}**: {rows[0]['applications']} applications of "
        f"“{recipe['mix']}”, {engine['kv_blocks'] * engine['block_size']:,} KV tokens, "
        f"{num_seeds} {'seed' if num_seeds == 1 else 'seeds'}."
    )
    return "\n\n".join(filter(None, (head, _whole(rows), _classes(rows), _later(rows), _notes(rows))))


def _whole(rows: Rows) -> str:
    base = {row["seed"]: row["mean_jct_s"] for row in rows if row["variant"] == rows[0]["variant"]}
    has_vtc = rows[0]["share_later_than_vtc"] is not None
    head = ["policy", "mean JCT, s", f"÷ {rows[0]['variant']}", "P90, s", "P99, s"]
    head += ["later than vtc", "worst ÷ vtc"] if has_vtc else []
    head += ["latest to GPS ÷ 2·M·D", "KV use", "preempted", "steps"]
    lines = []
    for label, chosen in _by_variant(rows):
        ratios = [row["mean_jct_s"] / base[row["seed"]] for row in chosen]
        line = [label, _mean(chosen, "mean_jct_s", ".1f"), _interval(ratios)]
        line += [_mean(chosen, "p90_jct_s", ".0f"), _mean(chosen, "p99_jct_s", ".0f")]
        if has_vtc:
            line.append(_mean(chosen, "share_later_than_vtc", ".0%"))
            line.append(f"{max(row['worst_ratio_to_vtc'] for row in chosen):.1f}x")
        line.append(f"{max(row['worst_lateness_to_gps'] / row['delay_bound'] for row in chosen):.2f}")
        line += [_mean(chosen, "mean_kv_use", ".0%"), _mean(chosen, "preemptions", ",.0f")]
        lines.append([*line, _mean(chosen, "engine_steps", ",.0f")])
    return table(head, lines)


def _classes(rows: Rows) -> str:
    """Mean completion times of the suite's classes; nothing for other mixes."""
    kinds = set(rows[0]["by_kind"])
    if not kinds <= {kind for members in _CLASSES.values() for kind in members}:
        return ""
    lines = []
    for label, chosen in _by_variant(rows):
        line = [label]
        for members in _CLASSES.values():
            parts = [row["by_kind"][kind] for row in chosen for kind in members if kind in row["by_kind"]]
            counts = [part["applications"] for part in parts]
            means = (part["mean_jct_s"] * count for part, count in zip(parts, counts, strict=True))
            line.append(f"{sum(means) / sum(counts):.1f}")
        lines.append(line)
    return table(["mean JCT by class, s", *_CLASSES], lines)


def _later(rows: Rows) -> str:
    """Those later than under vtc: are they late? Only where every application is kept."""
    kept = {(row["variant"], row["seed"]): row["record"] for row in rows if "record" in row}
    labels = [label for label in dict.fromkeys(label for label, _ in kept) if label != "vtc"]
    lines = []
    for label in labels:
        later = [
            (mine / its, late)
            for seed in sorted({seed for _, seed in kept})
            for mine, its, late in zip(
                kept[label, seed]["jct_s"],
                kept["vtc", seed]["jct_s"],
                kept[label, seed]["lateness_to_gps"],
                strict=True,
            )
            if mine > its
        ]
        twice = [late for ratio, late in later if ratio > 2]
        line = [label, str(len(later)), str(sum(late > 0 for _, late in later))]
        lines.append([*line, str(len(twice)), str(sum(late > 0 for late in twice))])
    head = [
        "of all seeds' applications",
        "later than vtc",
        "of these later than GPS",
        "more than 2x",
        "of these later than GPS",
    ]
    return table(head, lines) if lines else ""


def _notes(rows: Rows) -> str:
    names = list(rows[0].get("notes", ()))
    lines = [
        [label, *(_number(fmean(row["notes"][name] for row in chosen)) for name in names)]
        for label, chosen in _by_variant([row for row in rows if "notes" in row])
    ]
    return table(["", *(name.replace("_", " ") for name in names)], lines) if names else ""


def _of(report: dict[str, Any], case: str, seed: int | None = None) -> Rows:
    return [row for row in report["rows"] if row["case"] == case and seed in (None, row["seed"])]


def _by_variant(rows: Rows) -> list[tuple[str, Rows]]:
    labels = dict.fromkeys(row["variant"] for row in rows)
    return [(label, [row for row in rows if row["variant"] == label]) for label in labels]


def _mean(rows: Rows, field: str, form: str) -> str:
    return format(fmean(row[field] for row in rows), form)


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _interval(ratios: Sequence[float]) -> str:
    if len(ratios) < 2 or max(ratios) == min(ratios):
        return f"{fmean(ratios):.3f}"
    return f"{fmean(ratios):.3f} ± {_T_95[len(ratios)] * stdev(ratios) / len(ratios) ** 0.5:.3f}"


if __name__ == "__main__":
    written()
