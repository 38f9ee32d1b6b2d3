"""The gateway beside its peers, one process each, the same upstream, in one run: make bench-gateway

    python -m benchmarks.gateway                  calls, bursts, latency: three rounds, about 20 minutes
    python -m benchmarks.gateway --quick          the same in about three minutes, of no worth but to try it
    python -m benchmarks.gateway --streams        500, 1,000 and 2,000 streams held open, about 12 minutes
    python -m benchmarks.gateway --soak 1000000   ours alone, some twenty minutes: is its memory flat?

Each writes its part of benchmarks/results/gateway.json and the tables of docs/speed.md. What is missing of the peers is
installed once, under the user's cache folder (1.3 GB); nginx and redis-server must be there, and a C compiler.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gateway import peers, soak, streams, tables
from benchmarks.gateway.compiled import built
from benchmarks.gateway.contenders import CONTENDERS, Contender
from benchmarks.gateway.processes import ends_cleanly_when_told, planned, started_upstream
from benchmarks.gateway.standing import Bench
from gateway.demo.surroundings import StolenTime, machine, versions

_Report = dict[str, Any]


def main() -> int:
    args = _arguments()
    chosen = [one for one in CONTENDERS if not args.only or one.name in args.only]
    unknown = set(args.only) - {one.name for one in CONTENDERS}
    if unknown:
        print(f"no such contender: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    _allow_many_files()
    ends_cleanly_when_told()
    cores = planned(sorted(os.sched_getaffinity(0)))
    surroundings: _Report = {
        "machine": machine(),
        "versions": versions() | {one.name: one.packages.described() for one in chosen if one.packages.names},
        "pinning": cores.described(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "quick": args.quick,
    }
    stolen = StolenTime()
    with tempfile.TemporaryDirectory(prefix="justitia-bench-") as name:
        folder = Path(name)
        native = built(folder)
        with started_upstream(native.upstream, folder, cores.upstream) as port:
            part, found = _measured(args, Bench(folder, native, cores, port), chosen)
    report = _read(args.output)
    report[part] = {**surroundings, "stolen_share": stolen.share(), **found}
    args.output.write_text(shown(report))
    if args.output == tables.RESULT:
        tables.written()
    return 0


def _measured(args: argparse.Namespace, bench: Bench, chosen: Sequence[Contender]) -> tuple[str, _Report]:
    if args.soak:
        return "soak", soak.measured(bench, args.soak, 60.0 if args.quick else soak.MAX_SECONDS)
    if args.streams:
        rows, left_out = streams.measured(bench, chosen, streams.QUICK_STEPS if args.quick else streams.STEPS)
        return "streams", {"left_out": left_out, "rows": rows}
    sizes = peers.QUICK if args.quick else peers.Sizes(rounds=args.rounds, calls_per_application=args.reuse)
    rows, left_out = peers.measured(bench, chosen, sizes)
    return "peers", {"sizes": asdict(sizes), "left_out": left_out, "rows": rows}


def shown(report: _Report) -> str:
    """JSON with one line for each row."""
    parts = []
    for part, found in report.items():
        lists = {name: value for name, value in found.items() if name in ("rows", "series")}
        head = json.dumps({name: value for name, value in found.items() if name not in lists}, indent=1)[:-2]
        for name, rows in lists.items():
            head += f',\n "{name}": [\n  ' + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"
        parts.append(f'"{part}": {head}\n}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _read(output: Path) -> _Report:
    return dict(json.loads(output.read_text())) if output.exists() else {}


def _allow_many_files() -> None:
    """For everybody that is started: thousands of streams are thousands of files on both sides."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--streams", action="store_true", help="streams held open")
    part.add_argument("--soak", type=int, metavar="CALLS", help="ours alone: memory over so many calls")
    parser.add_argument("--quick", action="store_true", help="shorter; its figures are worth nothing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reuse", type=int, default=20, metavar="CALLS", help="calls of one application (default: 20)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these contenders alone, and direct")
    parser.add_argument("--output", type=Path, default=tables.RESULT)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
