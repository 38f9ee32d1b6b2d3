"""The tables of docs/prediction.md, from the raw JSON (`benchmarks.report` writes them, a test compares)."""

from collections.abc import Sequence
from typing import Any

from benchmarks.markdown import replaced, table

Rows = Sequence[dict[str, Any]]

_MODELS = ("global mean", "kind mean", "kind median", "linear", "boosting", "network", "kernel")


def with_prediction(page: str, found: dict[str, Any]) -> str:
    """The page with every table."""
    tables = {
        "quality": _quality(found["quality"]),
        "by-task": _quality(found["by_task"]),
        "without-words": _without_words(found["without_words"]),
        "kinds": _kinds(found["quality"]),
        "progress": _progress(found["progress"]),
        "learning": _learning(found["learning"]),
        "unseen": _unseen(found["unseen"]),
        "latency": _latency(found["latency"], found["training"]),
        "heavier": _heavier(found["heavier"], found["latency"]),
    }
    for name, content in tables.items():
        page = replaced(page, name, content)
    return page


def _quality(rows: Rows) -> str:
    head = ["over all kinds", "median relative error", "mean \\|log error\\|", "Spearman", "P90 over", "P90 under"]
    lines = []
    for name in _MODELS:
        [row] = [row for row in rows if row["model"] == name and row["kind"] is None]
        line = [name, f"{row['median_relative_error']:.3f}", f"{row['mean_abs_log_error']:.3f}"]
        line += [f"{row['spearman']:.3f}", f"{row['p90_over']:.1f}x", f"{row['p90_under']:.1f}x"]
        coverage = row["interval_coverage"]
        gross = row["gross_underestimates_of_largest_tenth"]
        lines.append([*line, f"{gross:.1%}", "–" if coverage is None else f"{coverage:.0%}"])
    return table([*head, "largest tenth more than 10x under", "in interval"], lines)


def _without_words(row: dict[str, Any]) -> str:
    head = ["no words kept (the default)", "median relative error", "mean \\|log error\\|", "Spearman"]
    figures = (row[name] for name in ("median_relative_error", "mean_abs_log_error", "spearman"))
    return table(head, [["kernel", *(f"{figure:.3f}" for figure in figures)]])


def _kinds(rows: Rows) -> str:
    by = {(row["model"], row["kind"]): row for row in rows}
    kinds = sorted({row["kind"] for row in rows} - {None})
    names = [name for name in _MODELS if name != "global mean"]
    lines = []
    for kind in kinds:
        ours = by["kernel", kind]
        errors = [f"{by[name, kind]['mean_abs_log_error']:.2f}" for name in names]
        lines.append([f"`{kind}`", str(ours["examples"]), *errors, f"{ours['median_relative_error']:.2f}"])
    return table(["mean \\|log error\\|", "runs", *names, "kernel, median relative error"], lines)


def _progress(rows: Rows) -> str:
    lines = [
        [
            "all" if row["kind"] is None else f"`{row['kind']}`",
            str(row["examples"]),
            f"{row['first_mean_abs_log_error']:.2f}",
            f"{row['refined_mean_abs_log_error']:.2f}",
            f"{row['refined_mean_abs_log_error_of_all_snapshots']:.2f}",
        ]
        for row in rows
    ]
    return table(["mean \\|log error\\|", "runs", "first call", "a third of the calls", "mean over its life"], lines)


def _learning(rows: Rows) -> str:
    sizes = sorted({row["trained_on"] for row in rows})
    lines = []
    for name in ("kind mean", "kernel"):
        of = {row["trained_on"]: row for row in rows if row["model"] == name}
        cells = (f"{of[size]['median_relative_error']:.2f} / {of[size]['mean_abs_log_error']:.2f}" for size in sizes)
        lines.append([name, *cells])
    return table(["median relative / mean \\|log\\|, after", *map(str, sizes)], lines)


def _unseen(rows: Rows) -> str:
    lines = [
        [
            f"`{row['kind']}`",
            f"{row['mean_abs_log_error_of_global_mean']:.2f}",
            f"{row['mean_abs_log_error']:.2f}",
            f"{row['interval_coverage']:.0%}",
        ]
        for row in rows
    ]
    return table(["mean \\|log error\\|, never seen", "global mean", "kernel", "in interval"], lines)


def _latency(latency: dict[str, float], training: Rows) -> str:
    timed = {
        "text to prediction": "read_and_predict",
        "of it, reading the text": "features",
        "of it, predicting": "single",
        "refining": "refined",
    }
    lines = [
        [what, *(f"{latency[f'{name}_{share}_ms']:.2f} ms" for share in ("p50", "p99"))] for what, name in timed.items()
    ]
    lines.append(["a batch of 64, predicting", f"{latency['batch_of_64_p50_ms']:.1f} ms", ""])
    lines.append(["start-up, to the first prediction", f"{latency['first_prediction_ms']:.0f} ms", ""])
    lines.append(["memory that it adds", f"{latency['memory_mib']:.0f} MiB", ""])
    lines.append(["artifact", f"{latency['artifact_bytes'] / 2**20:.1f} MiB", ""])
    lines += [[f"training on {row['applications']:,}", f"{row['wall_s']:.0f} s", ""] for row in training]
    return table(["on one core", "P50", "P99"], lines)


def _heavier(heavier: dict[str, Any], latency: dict[str, float]) -> str:
    if "rows" not in heavier:
        return f"Left out: {heavier['left_out']}."
    names = {"words": "TF-IDF of hashed words (ours)", "embedding": heavier["model"]}
    p99 = {"words": latency["features_p99_ms"], "embedding": heavier["embedding_p99_ms"]}
    p50 = {"words": latency["features_p50_ms"], "embedding": heavier["embedding_p50_ms"]}
    lines = [
        [
            names[row["likeness"]],
            f"{row['median_relative_error']:.3f}",
            f"{row['mean_abs_log_error']:.3f}",
            f"{row['spearman']:.3f}",
            f"{p50[row['likeness']]:.2f} ms",
            f"{p99[row['likeness']]:.2f} ms",
        ]
        for row in heavier["rows"]
    ]
    head = ["likeness of texts", "median relative error", "mean \\|log error\\|", "Spearman", "text P50", "text P99"]
    return table(head, lines)
