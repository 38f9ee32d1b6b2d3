"""`justitia replay`: recorded applications through our scheduling code and vLLM's real scheduler, in virtual time."""

import argparse
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.argument_types import positive_float, positive_int
from gateway.fairness.policies import POLICY_NAMES, PolicyName
from gateway.fairness.units import ApplicationId
from gateway.replay.costs import PREDICTORS, Costs
from gateway.replay.measures import measures, table
from gateway.replay.prompts import Prompts
from gateway.replay.simulation import EngineModel, SimulatedApplication, Simulation, Timing
from gateway.replay.step_time import PRESETS
from gateway.settings import SchedulingSettings
from gateway.tiny_model import ensure_tiny_model
from gateway.workloads.sample import sample_applications
from gateway.workloads.traces import RecordedApplication, TraceError, read_applications, read_arrivals
from gateway.workloads.workload import Workload, WorkloadError, drawn, poisson_arrivals, scaled_arrivals

_DEFAULT_POLICIES: tuple[PolicyName, ...] = ("vtc", "fcfs", "justitia")
_SAMPLE_SIZE = 200
_TOKEN_BUDGET = 2048
"""vLLM's `max_num_batched_tokens` for a server."""

_EXAMPLE = """examples:
  justitia replay                                               a made-up sample, seconds
  justitia replay runs.jsonl.gz --policy fcfs justitia --window-s 60 --kv-blocks 2048
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
    add("--step-time", choices=tuple(PRESETS), default="a100-7b", help="what a step costs (default: a100-7b)")
    add("--seed", type=int, default=1, metavar="K", help="of the choice, the sample and the arrivals (default: 1)")
    add("--costs", choices=tuple(PREDICTORS), default="oracle", help="what is predicted (default: oracle)")
    add("--policy", action="extend", nargs="+", choices=POLICY_NAMES, metavar="P", help=_policy_help())
    add("--json", action="store_true", help="one JSON object a policy instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("vllm") is None:
        return _complain("vLLM is not installed: its scheduler is what is simulated (justitia-gateway[engine-cpu])")
    try:
        recorded, workload = _workload(args)
    except (TraceError, WorkloadError) as error:
        return _complain(str(error))
    max_len = args.kv_blocks * args.block_size
    for application in workload.applications:
        if any(call.completion_tokens >= max_len for call in application.calls):
            return _complain(f"application {application.app_id}: a call is larger than the KV memory")
    make_engine, answer_token = _engines(args)
    prompts = Prompts(answer_token, max_len, are_shared=args.prefix_caching)
    applications = _prepared(workload, PREDICTORS[args.costs](workload.applications, recorded), prompts)
    timing, margin = Timing(PRESETS[args.step_time]), SchedulingSettings().dispatch_margin_calls
    runs = [
        Simulation(applications, policy, make_engine(), timing, margin=margin).run()
        for policy in dict.fromkeys(args.policy or _DEFAULT_POLICIES)
    ]
    vtc = next((one for one in runs if one.policy == "vtc"), None)
    reports = [measures(one, vtc) for one in runs]
    if args.json:
        for report in reports:
            print(json.dumps(report.as_dict()))
    else:
        print(table(reports))
    return 0


def _engines(args: argparse.Namespace) -> tuple[Callable[[], EngineModel], int]:
    """What makes a fresh engine, and the token that its model always answers."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it logs to stdout, which is for our answer
    simulator: Any = importlib.import_module("engine_patch.simulated")  # with vLLM, which the gateway runs without
    config = simulator.load_config(str(ensure_tiny_model()))

    def make() -> EngineModel:
        engine: EngineModel = simulator.SimulatedEngine(
            config,
            num_blocks=args.kv_blocks,
            block_size=args.block_size,
            max_num_seqs=args.max_seqs,
            token_budget=_TOKEN_BUDGET,
            has_prefix_caching=args.prefix_caching,
        )
        return engine

    return make, simulator.PLAIN_TOKEN


def _prepared(workload: Workload, costs: Costs, prompts: Prompts) -> list[SimulatedApplication]:
    return [
        SimulatedApplication(
            ApplicationId(f"{application.app_id}#{number}"),  # one run may be drawn twice
            application.kind,
            arrives_at,
            application.calls,
            prompts.of(number, application),
            cost,
        )
        for number, (application, arrives_at, cost) in enumerate(
            zip(workload.applications, workload.arrivals_s, costs, strict=True)
        )
    ]


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
