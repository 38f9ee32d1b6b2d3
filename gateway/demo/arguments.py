"""What can be asked of a demo: the flags, the defaults that hang together, and the workload that they name."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from gateway.argument_types import positive_float, positive_int
from gateway.fairness.policies import POLICY_NAMES
from gateway.workloads.sample import sample_applications
from gateway.workloads.traces import read_applications, read_arrivals
from gateway.workloads.workload import Workload, drawn, poisson_arrivals, scaled_arrivals


@dataclass(frozen=True, slots=True)
class Sizes:
    """Defaults that hang together: how much arrives in what time, and how little KV memory there is for it."""

    applications: int
    window_s: float
    kv_blocks: int
    max_model_len: int


# For the tiny model on two CPU cores: so little KV memory that it, and not the number of sequences, decides how many
# calls run (5 to 10), for most of a run; and so few applications that a run of the sample takes about a minute.
SAMPLE_SIZES = Sizes(applications=60, window_s=12.0, kv_blocks=128, max_model_len=2048)
TRACE_SIZES = Sizes(applications=40, window_s=40.0, kv_blocks=640, max_model_len=8192)

MAX_NUM_SEQS = 64
"""Never reached before the KV memory is full."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Three groups: what runs, what is sent, where it runs."""
    _add_comparison(parser.add_argument_group("the comparison"))
    _add_workload(parser.add_argument_group("the workload"))
    _add_engine(parser.add_argument_group("the engine"))


def _add_comparison(group: "argparse._ArgumentGroup") -> None:
    names = ", ".join(POLICY_NAMES)
    add = group.add_argument
    add(
        "--policy",
        action="extend",
        nargs="+",
        choices=POLICY_NAMES,
        metavar="P",
        help=f"of {names} (default: fcfs and justitia)",
    )
    add(
        "--rounds",
        type=positive_int,
        default=1,
        metavar="N",
        help="times each policy runs; each round begins with another one (default: 1)",
    )
    add(
        "--costs",
        choices=("declared", "kind-mean"),
        default="declared",
        help="applications declare their true cost (default), or the gateway goes by the mean of their kind",
    )
    add("--stream", action="store_true", help="stream the answers")
    add("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    add("--keep", action="store_true", help="afterwards leave the engine and a gateway serving until Ctrl-C")
    add(
        "--port",
        type=_port,
        default=8080,
        metavar="P",
        help="for --keep; the next free one if it is taken (default: 8080)",
    )


def _add_workload(group: "argparse._ArgumentGroup") -> None:
    sample, traces = SAMPLE_SIZES, TRACE_SIZES
    add = group.add_argument
    add(
        "--traces",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="recorded applications, JSON lines, may be gzipped (default: a made-up sample of four kinds)",
    )
    add(
        "--arrivals",
        type=Path,
        metavar="FILE",
        help="arrival times, CSV with a column arrival_s, may be gzipped (default: a Poisson stream)",
    )
    add(
        "--applications",
        type=positive_int,
        metavar="N",
        help=f"how many (default: {sample.applications}; {traces.applications} with --traces)",
    )
    add(
        "--window-s",
        type=positive_float,
        metavar="S",
        help=f"seconds in which they all arrive (default: {sample.window_s:.0f}; {traces.window_s:.0f} with --traces)",
    )
    add(
        "--time-scale",
        type=positive_float,
        default=1.0,
        metavar="X",
        help="stretches the recorded delays between calls (default: 1)",
    )
    add("--seed", type=int, default=1, metavar="K", help="of the sample, the choice and the arrivals (default: 1)")


def _add_engine(group: "argparse._ArgumentGroup") -> None:
    sample, traces = SAMPLE_SIZES, TRACE_SIZES
    add = group.add_argument
    add("--engine", type=_url, metavar="URL", help="a vLLM server that runs already and is idle; none is started")
    add("--model", default="tiny", metavar="MODEL", help="what to serve (default: a tiny model made on the spot)")
    add(
        "--kv-blocks",
        type=positive_int,
        metavar="B",
        help=f"KV memory in blocks (default: {sample.kv_blocks}; {traces.kv_blocks} with --traces)",
    )
    add(
        "--max-model-len",
        type=positive_int,
        metavar="L",
        help="longest call in tokens; longer prompts are clipped"
        f" (default: {sample.max_model_len}; {traces.max_model_len} with --traces)",
    )


def sizes_of(args: argparse.Namespace) -> Sizes:
    """The defaults of the workload asked for, and over them what was said."""
    default = TRACE_SIZES if args.traces else SAMPLE_SIZES
    return Sizes(
        args.applications or default.applications,
        args.window_s or default.window_s,
        args.kv_blocks or default.kv_blocks,
        args.max_model_len or default.max_model_len,
    )


def workload_of(args: argparse.Namespace) -> Workload:
    """Raises TraceError or WorkloadError."""
    sizes = sizes_of(args)
    if args.traces:
        recorded = [application for path in args.traces for application in read_applications(path)]
        applications = drawn(recorded, sizes.applications, args.seed)
    else:
        applications = sample_applications(sizes.applications, args.seed)
    if args.arrivals is None:
        arrivals_s = poisson_arrivals(sizes.applications, sizes.window_s, args.seed)
    else:
        arrivals_s = scaled_arrivals(read_arrivals(args.arrivals), sizes.applications, sizes.window_s)
    return Workload(tuple(applications), arrivals_s)


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return value


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no URL")
    return text.rstrip("/")
