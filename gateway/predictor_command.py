"""`justitia predictor report`: how well costs are predicted from first calls, beside every baseline.

The predictor comes with the extra `predictor` and is imported only here, when it is asked for.
"""

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.fairness.units import KvTokenTime
from gateway.figures import aligned
from gateway.learning.drawing import can_draw, draw
from gateway.learning.examples import of_recorded
from gateway.replay.costs import Costs
from gateway.workloads.traces import RecordedApplication, TraceError, read_applications

MIN_APPLICATIONS = 20
NOT_INSTALLED = "numpy, safetensors or tqdm is not installed (justitia-gateway[predictor])"

_EXAMPLE = """examples:
  justitia predictor report --traces runs.jsonl.gz
  justitia predictor report --traces suite.jsonl.gz agents.jsonl.gz --by-task --json > report.jsonl
  justitia predictor report --artifact DIR --traces runs.jsonl.gz --figures pictures

Without --artifact every model is trained on four fifths of the applications and predicts the others, in turn. An
artifact is asked about all of them as it is: of those that it was trained on it knows more than it would of new ones.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("predictor", help="how well costs are predicted")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    report = verbs.add_parser(
        "report",
        help="errors by kind, beside every baseline",
        description="How well the costs of recorded applications can be told from their first calls.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = report.add_argument
    add("--traces", nargs="+", type=Path, required=True, metavar="APPS", help="recorded applications")
    add("--artifact", type=Path, metavar="DIR", help="what `justitia train --out DIR` has written")
    add("--by-task", action="store_true", help="never train on another run of the same task")
    add("--figures", type=Path, metavar="DIR", help="draw predicted against true costs, as PNG files in this folder")
    add("--json", action="store_true", help="one JSON object a model and kind instead of the table")
    report.set_defaults(run=run)


def is_installed() -> bool:
    return _have("numpy", "safetensors", "tqdm")


def _have(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def run(args: argparse.Namespace) -> int:
    if not is_installed():
        return _complain(NOT_INSTALLED)
    if args.figures and not can_draw():
        return _complain("--figures needs matplotlib (justitia-gateway[figures])")
    artifacts = importlib.import_module("predictor.artifacts")
    try:
        recorded = [application for path in args.traces for application in read_applications(path)]
        artifact = None if args.artifact is None else artifacts.load(args.artifact)
    except TraceError as error:
        return _complain(str(error))
    except artifacts.ArtifactError as error:
        return _complain(str(error))
    if len(recorded) < MIN_APPLICATIONS:
        return _complain(f"{len(recorded)} applications are too few to train on some and try the others")
    report, examples = importlib.import_module("predictor.report"), of_recorded(recorded)
    without = ([] if _have("sklearn") else ["linear", "boosting"]) + ([] if _have("torch") else ["network"])
    if without:
        print(f"without {', '.join(without)}: justitia-gateway[comparison] has what they need", file=sys.stderr)
    found = report.judged(
        examples,
        without=without,
        by_task=args.by_task,
        model=None if artifact is None else artifact.model,
        told=lambda name: print(f"{name} …", file=sys.stderr),
    )
    if args.json:
        for row in found.rows:
            print(json.dumps(row))
    else:
        print(_table(found.rows))
    if args.figures:
        try:
            files = draw(examples, found.quantiles, args.figures)
        except OSError as error:
            return _complain(f"--figures {args.figures}: {error.strerror or error}")
        print(f"{len(files)} pictures in {args.figures}", file=sys.stderr)
    return 0


def out_of_fold_costs(recorded: Sequence[RecordedApplication]) -> Costs:
    """What the predictor says of each when it was trained without it: seconds for a thousand."""
    report = importlib.import_module("predictor.report")
    return [KvTokenTime(cost) for cost in report.out_of_fold_costs(of_recorded(recorded))]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    head = [
        "model",
        "kind",
        "runs",
        "median error",
        "mean error",
        "mean |log error|",
        "Spearman",
        "P90 over",
        "P90 under",
        "in interval",
        "P50 ms",
        "P99 ms",
    ]
    lines = [
        [
            row["model"],
            row["kind"] or "all",
            str(row["examples"]),
            f"{row['median_relative_error']:.2f}",
            f"{row['mean_relative_error']:.2f}",
            f"{row['mean_abs_log_error']:.2f}",
            f"{row['spearman']:.2f}",
            f"{row['p90_over']:.1f}x",
            f"{row['p90_under']:.1f}x",
            "–" if row["interval_coverage"] is None else f"{row['interval_coverage']:.0%}",
            "–" if row.get("latency_p50_ms") is None else f"{row['latency_p50_ms']:.2f}",
            "–" if row.get("latency_p99_ms") is None else f"{row['latency_p99_ms']:.2f}",
        ]
        for row in rows
    ]
    return aligned([head, *lines], left=(0, 1))


def _complain(message: str) -> int:
    print(f"justitia predictor: {message}", file=sys.stderr)
    return 2
