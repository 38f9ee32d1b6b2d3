"""`justitia replay`: recorded applications through our scheduling code and vLLM's real scheduler, in virtual time."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import predictor_command
from gateway.argument_types import positive_float, positive_int
from gateway.fairness.policies import POLICY_NAMES, PolicyName
from gateway.fairness.shares import SHARES_NAMES
from gateway.replay.costs import PREDICTORS, Costs, oracle
from gateway.replay.drawing import can_draw, draw
from gateway.replay.measures import measures, table
from gateway.replay.records import record_of, spread_by
from gateway.replay.scenario import EngineShape, Scenario
from gateway.replay.step_time import PRESETS
from gateway.workloads.sample import sample_applications
from gateway.workloads.traces import RecordedApplication, TraceError, read_applications, read_arrivals
from gateway.workloads.workload import Workload, WorkloadError, drawn, poisson_arrivals, scaled_arrivals

_DEFAULT_POLICIES: tuple[PolicyName, ...] = ("vtc", "fcfs", "justitia")
_SAMPLE_SIZE = 200
_MOMENTS_IN_WINDOW = 100
_FOLLOWED = 12
"""Applications whose service over time is drawn."""
_PASSING_HELP = "let calls go past one that does not fit, for so many iterations (default: never)"
_SHARES_HELP = "who has one under justitia: applications, or the tenants that APPS may name (default: application)"

_EXAMPLE = """examples:
  justitia replay                                               a made-up sample, seconds
  justitia replay runs.jsonl.gz --policy fcfs justitia --window-s 60 --kv-blocks 2048
  justitia replay runs.jsonl.gz --policy justitia srjf vtc --figures pictures
  justitia replay runs.jsonl.gz --arrivals arrivals.csv --costs kind-mean --json > result.jsonl
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "replay",
        help="what would a policy do to this traffic? Simulated, in seconds",
        description="Run recorded applications through the gateway's scheduler and vLLM's own, in virtual time.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("apps", nargs="*", type=Path, metavar="APPS", help="recorded applications, JSON lines (default: a sample)")
    add("--arrivals", type=Path, metavar="FILE", help="CSV with arrival_s (default: a Poisson stream)")
    add("--applications", type=positive_int, metavar="N", help=f"how many (default: all; {_SAMPLE_SIZE} of the sample)")
    add("--window-s", type=positive_float, default=120.0, metavar="S", help="all arrive within this (default: 120)")
    add("--kv-blocks", type=positive_int, default=459, metavar="B", help="KV memory in blocks (default: 459)")
    add("--block-size", type=positive_int, default=16, metavar="T", help="tokens of a block (default: 16)")
    add("--max-seqs", type=positive_int, default=256, metavar="N", help="sequences that run at once (default: 256)")
    add("--prefix-caching", action="store_true", help="share the KV blocks of common prefixes (default: off)")
    add("--passing", type=positive_int, default=0, metavar="N", help=_PASSING_HELP)
    add("--step-time", choices=tuple(PRESETS), default="a100-7b", help="what a step costs (default: a100-7b)")
    add("--seed", type=int, default=1, metavar="K", help="of the choice, the sample and the arrivals (default: 1)")
    add("--costs", choices=(*PREDICTORS, "predictor"), default="oracle", help="what is predicted (default: oracle)")
    add("--policy", action="extend", nargs="+", choices=POLICY_NAMES, metavar="P", help=_policy_help())
    add("--shares", choices=SHARES_NAMES, default="application", help=_SHARES_HELP)
    add("--figures", type=Path, metavar="DIR", help="draw what happened, as PNG files in this folder")
    add("--json", action="store_true", help="one JSON object a policy instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("vllm") is None:
        return _complain("vLLM is not installed: its scheduler is what is simulated (justitia-gateway[engine-cpu])")
    if args.costs == "predictor" and not predictor_command.is_installed():
        return _complain(f"--costs predictor: {predictor_command.NOT_INSTALLED}")
    if args.figures and not can_draw():
        return _complain("--figures needs matplotlib (justitia-gateway[figures])")
    try:
        recorded, workload = _workload(args)
        scenario = Scenario(workload, _shape(args), PRESETS[args.step_time])
    except (TraceError, WorkloadError) as error:
        return _complain(str(error))
    if args.costs == "predictor" and len(recorded) < predictor_command.MIN_APPLICATIONS:
        return _complain(f"--costs predictor: {len(recorded)} applications are too few to learn from")
    costs = _predicted(args.costs, workload.applications, recorded)
    every_s = args.window_s / _MOMENTS_IN_WINDOW if args.figures else None
    policies = dict.fromkeys(args.policy or _DEFAULT_POLICIES)
    runs = [scenario.run(policy, costs, shares=args.shares, moments_every_s=every_s) for policy in policies]
    vtc = next((one for one in runs if one.policy == "vtc"), None)
    reports = [measures(one, vtc) for one in runs]
    if args.json:
        for report in reports:
            print(json.dumps(report.as_dict()))
    else:
        print(table(reports))
    if args.figures:
        followed = spread_by(oracle(workload.applications), _FOLLOWED)
        records = [record_of(one, one.policy, followed) for one in runs]
        try:
            files = draw(records, args.figures)
        except OSError as error:
            return _complain(f"--figures {args.figures}: {error.strerror or error}")
        print(f"{len(files)} pictures in {args.figures}", file=sys.stderr)
    return 0


def _predicted(
    name: str, applications: Sequence[RecordedApplication], recorded: Sequence[RecordedApplication]
) -> Costs:
    if name != "predictor":
        return PREDICTORS[name](applications, recorded)
    # One application may be drawn, or recorded, more than once: equal ones get the same answer.
    known = dict(zip(recorded, predictor_command.out_of_fold_costs(recorded), strict=True))
    return [known[application] for application in applications]


def _shape(args: argparse.Namespace) -> EngineShape:
    return EngineShape(
        args.kv_blocks,
        args.block_size,
        args.max_seqs,
        has_prefix_caching=args.prefix_caching,
        passing_iterations=args.passing,
    )


def _workload(args: argparse.Namespace) -> tuple[list[RecordedApplication], Workload]:
    """Everything in the files, and what is drawn from it. Raises TraceError or WorkloadError."""
    if args.apps:
        recorded = [application for path in args.apps for application in read_applications(path)]
        count = args.applications or len(recorded)
        applications = drawn(recorded, count, args.seed)
    else:
        count = args.applications or _SAMPLE_SIZE
        recorded = applications = sample_applications(count, args.seed)
    if args.arrivals is None:
        arrivals_s = poisson_arrivals(count, args.window_s, args.seed)
    else:
        arrivals_s = scaled_arrivals(read_arrivals(args.arrivals), count, args.window_s)
    return recorded, Workload(tuple(applications), arrivals_s)


def _complain(message: str) -> int:
    print(f"justitia replay: {message}", file=sys.stderr)
    return 2


def _policy_help() -> str:
    return f"of {', '.join(POLICY_NAMES)} (default: {', '.join(_DEFAULT_POLICIES)})"
