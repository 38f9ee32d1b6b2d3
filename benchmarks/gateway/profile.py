"""Where the time of a call through the gateway goes: python -m benchmarks.gateway.profile [--seconds 10] [--streams]

py-spy samples the gateway's process from outside while the load runs against it (a program for developers, installed
under the user's cache folder like the contenders; it needs the right to trace a process: root, or ptrace_scope 0). A
sample counts for the package of the innermost Python frame; C code, uvloop's own too, counts for whoever called it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gateway import peers, tables
from benchmarks.gateway.__main__ import shown
from benchmarks.gateway.compiled import built
from benchmarks.gateway.contenders import CONTENDERS
from benchmarks.gateway.installed import NotInstalled, Packages, installed
from benchmarks.gateway.load import Load, run
from benchmarks.gateway.processes import ends_cleanly_when_told, planned, started_upstream
from benchmarks.gateway.standing import Bench, Standing, standing

_PY_SPY = Packages("pip", ("py-spy==0.4.1",))
_SAMPLES_PER_S = 250
_WARMUP_S = 2.0
_SHOWN_FUNCTIONS = 25
_EVENT_LOOP = "event loop and sockets"

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--streams", action="store_true", help="streams of 32 events instead of unary calls")
    parser.add_argument("--store", action="store_true", help="into the result's file and docs/speed.md")
    parser.add_argument("--contender", default="justitia", choices=[one.name for one in CONTENDERS if one.is_ours])
    args = parser.parse_args()
    ends_cleanly_when_told()
    try:
        program = installed("py-spy", _PY_SPY) / "bin" / "py-spy"
        stacks, seen = _profiled(program, args)
    except (NotInstalled, RuntimeError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    where = by_package(stacks)
    said = f"{seen['calls'] / seen['seconds']:,.0f} calls a second while sampled, {where.total():,} samples."
    found = {"quick": args.seconds < 10, "said": said, "rows": _rows(where)}
    print(f"{said}\n\nby package:")
    print(_listed(where.most_common(), where.total()))
    print("\nby function, innermost:")
    print(_listed(by_function(stacks).most_common(_SHOWN_FUNCTIONS), where.total()))
    if args.store:
        report = json.loads(tables.RESULT.read_text()) if tables.RESULT.exists() else {}
        report["profile"] = found
        tables.RESULT.write_text(shown(report))
        tables.written()
    return 0


def _profiled(program: Path, args: argparse.Namespace) -> tuple[dict[str, int], Row]:
    """Collapsed stacks with their counts, and what the load saw. Raises RuntimeError where tracing is not allowed."""
    [ours] = [one for one in CONTENDERS if one.name == args.contender]
    cores = planned(sorted(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory(prefix="justitia-bench-") as name:
        folder = Path(name)
        native = built(folder)
        with started_upstream(native.upstream, folder, cores.upstream) as port:
            bench = Bench(folder, native, cores, port)
            with standing(ours, bench) as target, _sampling(program, target, folder, args.seconds) as sampler:
                flags = ["--connections", str(peers.CONNECTIONS), "--reuse", "20"]
                flags += ["--events", str(peers.EVENTS)] if args.streams else []
                request = target.request("burst-32", is_stream=args.streams)
                seen = run(bench, target, request, Load(_WARMUP_S, args.seconds, tuple(flags)))
                _, said = sampler.communicate(timeout=60)
        output = folder / "stacks"
        if sampler.returncode or not output.exists():
            raise RuntimeError(f"py-spy: {said.strip()[-300:]}")
        return collapsed(output.read_text(errors="replace").splitlines()), seen


def _sampling(program: Path, target: Standing, folder: Path, seconds: float) -> "subprocess.Popen[str]":
    command = [str(program), "record", "--pid", str(target.process_id), "--format", "raw", "--nonblocking"]
    command += ["--rate", str(_SAMPLES_PER_S), "--duration", f"{seconds:.0f}", "--full-filenames"]
    command += ["--output", str(folder / "stacks")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def collapsed(lines: Iterable[str]) -> dict[str, int]:
    """From lines `frame;frame;frame COUNT`, outermost first. Threads that only wait are not sampled by py-spy."""
    stacks: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack and count.isdigit():
            stacks[stack] += int(count)
    return dict(stacks)


def by_package(stacks: dict[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        found[package_of(stack.rsplit(";", 1)[-1])] += count
    return found


def by_function(stacks: dict[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        frame = stack.rsplit(";", 1)[-1]
        function, _, place = frame.rpartition(" (")
        found[f"{package_of(frame):<24} {function} ({Path(place).name.partition(':')[0]})"] += count
    return found


def package_of(frame: str) -> str:
    """Of `function (/path/to/file.py:12)`: ours by our own packages, others by their distribution's."""
    parts = frame.rpartition(" (")[2].rpartition(":")[0].split("/")
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    if parts[-1] in ("runners.py", "base_events.py"):
        return _EVENT_LOOP
    if "gateway" in parts:
        inner = parts[len(parts) - 1 - parts[::-1].index("gateway") :]
        return ".".join(part.removesuffix(".py") for part in inner[:2])
    return "standard library"


def _rows(where: Counter[str]) -> list[Row]:
    return [{"where": name, "share": round(count / where.total(), 4)} for name, count in where.most_common()]


def _listed(counts: Sequence[tuple[str, int]], total: int) -> str:
    return "\n".join(f"{count / max(1, total):>7.1%}  {name}" for name, count in counts)


if __name__ == "__main__":
    sys.exit(main())
