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
from gateway.replay.costs import Costs, true_cost
from gateway.workloads.first_calls import first_call_of
from gateway.workloads.traces import RecordedApplication, TraceError, read_applications

MIN_APPLICATIONS = 20

_EXAMPLE = """examples:
  justitia predictor report --traces runs.jsonl.gz
  justitia predictor report --traces suite.jsonl.gz agents.jsonl.gz --by-task --json > report.jsonl
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("predictor", help="how well costs are predicted")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    report = verbs.add_parser(
        "report",
        help="errors by kind, beside every baseline",
        description="Train on four fifths of recorded applications and predict the rest, in turn.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument("--traces", nargs="+", type=Path, required=True, metavar="APPS", help="recorded applications")
    report.add_argument("--by-task", action="store_true", help="never train on another run of the same task")
    report.add_argument("--json", action="store_true", help="one JSON object a model and kind instead of the table")
    report.set_defaults(run=run)


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "sklearn"))


def run(args: argparse.Namespace) -> int:
    if not is_installed():
        return _complain("torch or scikit-learn is not installed (justitia-gateway[predictor])")
    try:
        recorded = [application for path in args.traces for application in read_applications(path)]
    except TraceError as error:
        return _complain(str(error))
    if len(recorded) < MIN_APPLICATIONS:
        return _complain(f"{len(recorded)} applications are too few to train on some and try the others")
    rows = _report().rows(
        _examples(recorded), by_task=args.by_task, told=lambda name: print(f"{name} …", file=sys.stderr)
    )
    if args.json:
        for row in rows:
            print(json.dumps(row))
    else:
        print(_table(rows))
    return 0


def out_of_fold_costs(recorded: Sequence[RecordedApplication]) -> Costs:
    """What the predictor says of each when it was trained without it: minutes for a thousand."""
    return [KvTokenTime(cost) for cost in _report().out_of_fold_costs(_examples(recorded))]


def _report() -> Any:
    return importlib.import_module("predictor.report")


def _examples(recorded: Sequence[RecordedApplication]) -> list[Any]:
    example = _report().Example
    firsts = [first_call_of(application) for application in recorded]
    return [
        # Runs of one task ask the same.
        example(first.kind, first.text, first.prompt_tokens, true_cost(application), task=first.text)
        for first, application in zip(firsts, recorded, strict=True)
    ]


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
        ]
        for row in rows
    ]
    return aligned([head, *lines], left=(0, 1))


def _complain(message: str) -> int:
    print(f"justitia predictor: {message}", file=sys.stderr)
    return 2
