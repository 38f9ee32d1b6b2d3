"""What it costs to be seen: metrics, spans and a log line of every call, each against all off: make bench-observability

    python -m benchmarks.observability            seven rounds, about 6 minutes
    python -m benchmarks.observability --quick    one round, of no worth but to try it

Two gateways at a time, one with all of it off, on the same core and under the same load at the same moment: whatever
slows the machine slows both. Spans are of every call (no sampling) and go to a collector that answers at once; lines
go to a file. Metrics cannot be switched off: without them the gateway is started by a module of the benchmarks, whose
counters do nothing when a call passes. Written to benchmarks/results/observability.json; what is wanted is at most
15 % more CPU time a call with everything on.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.gateway.__main__ import shown
from benchmarks.gateway.compiled import built
from benchmarks.gateway.contenders import CONTENDERS, Contender, Place
from benchmarks.gateway.load import Load, errors, run
from benchmarks.gateway.processes import (
    ends_cleanly_when_told,
    free_port,
    planned,
    started,
    started_upstream,
    wait_for_listener,
)
from benchmarks.gateway.standing import Bench, Standing, standing
from gateway.demo.surroundings import StolenTime, machine, versions

RESULT = Path(__file__).parent / "results" / "observability.json"
WANTED = 0.15
_WARMUP_S, _SECONDS = 1.0, 5.0
_CONNECTIONS = 16
_EVENTS = 32
_OFF = "all off"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    has_metrics: bool = True
    has_spans: bool = False
    has_lines: bool = False


VARIANTS = (
    Variant(_OFF, has_metrics=False),
    Variant("metrics"),
    Variant("metrics, spans", has_spans=True),
    Variant("metrics, logs", has_lines=True),
    Variant("all on", has_spans=True, has_lines=True),
)


MEASURES = ("unary", "streams")


def contender(variant: Variant, collector: str) -> Contender:
    """The gateway as the other benchmarks start it, but for what is seen of it."""
    [ours] = [one for one in CONTENDERS if one.name == "justitia"]

    def command(place: Place) -> list[str]:
        flags = ours.command(place)
        if not variant.has_metrics:
            flags[flags.index("gateway.cli")] = "benchmarks.uncounted"
        return flags

    def environment(place: Place) -> dict[str, str]:
        seen = {"JUSTITIA_LOGS__CALLS": "all" if variant.has_lines else "none", "JUSTITIA_LOGS__FORMAT": "json"}
        if variant.has_spans:
            # A queue for what comes while the collector's own process is not scheduled.
            seen |= {"JUSTITIA_TRACING__ENDPOINT": collector, "OTEL_BSP_MAX_QUEUE_SIZE": "16384"}
        return {**ours.environment(place), **seen}

    return replace(ours, name=variant.name, command=command, environment=environment)


def measured(bench: Bench, collector: str, rounds: int) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        off, *others = [(one.name, stack.enter_context(standing(contender(one, collector), bench))) for one in VARIANTS]
        both = stack.enter_context(ThreadPoolExecutor(2))
        for number in range(rounds):
            for name, target in others if number % 2 == 0 else others[::-1]:
                for measure in MEASURES:
                    seeing = [
                        both.submit(_seen, bench, one, is_stream=measure == "streams") for one in (off[1], target)
                    ]
                    row: Row = {"round": number, "variant": name, "measure": measure}
                    row["off"], row["on"] = (one.result() for one in seeing)
                    row["more_cpu"] = round(row["on"]["cpu_ms_per_call"] / row["off"]["cpu_ms_per_call"] - 1, 4)
                    print(_said(row), flush=True)
                    yield row


def _seen(bench: Bench, target: Standing, *, is_stream: bool) -> Row:
    flags = ["--connections", str(_CONNECTIONS), "--reuse", "20"]
    flags += ["--events", str(_EVENTS)] if is_stream else []
    request = target.request("burst-32", is_stream=is_stream)
    seen = run(bench, target, request, Load(_WARMUP_S, _SECONDS, tuple(flags)))
    return {
        "calls": seen["calls"],
        "cpu_ms_per_call": round(1000 * seen["cpu_s"] / max(1, seen["calls"]), 4),
        "memory_mib": seen["memory_mib"],
        "errors": errors(seen),
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """Of each variant and measure the median over the rounds, and the quartiles."""
    found = []
    for variant in VARIANTS[1:]:
        for measure in MEASURES:
            of_it = (variant.name, measure)
            more = sorted(row["more_cpu"] for row in rows if (row["variant"], row["measure"]) == of_it)
            found.append(
                {
                    "variant": variant.name,
                    "measure": measure,
                    "more_cpu": round(statistics.median(more), 4),
                    "quartiles": [more[len(more) // 4], more[-1 - len(more) // 4]],
                }
            )
    return found


def main() -> int:
    args = _arguments()
    ends_cleanly_when_told()
    cores = planned(sorted(os.sched_getaffinity(0)))
    report: Row = {
        "machine": machine(),
        "versions": versions(),
        "pinning": cores.described(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "quick": args.quick,
    }
    stolen = StolenTime()
    rounds = 1 if args.quick else args.rounds
    with tempfile.TemporaryDirectory(prefix="justitia-bench-") as name:
        folder = Path(name)
        native = built(folder)
        with started_upstream(native.upstream, folder, cores.upstream) as port, _collector(folder, cores.load) as url:
            rows = list(measured(Bench(folder, native, cores, port), url, rounds))
    found = summary(rows)
    for row in found:
        low, high = row["quartiles"]
        print(f"{row['variant']:<16}{row['measure']:<9}{row['more_cpu']:+8.1%} CPU a call ({low:+.1%} to {high:+.1%})")
    [most] = [row["more_cpu"] for row in found if (row["variant"], row["measure"]) == ("all on", "unary")]
    print(f"all on, unary: {most:+.1%}; wanted: at most {WANTED:+.0%}")
    report |= {"stolen_share": stolen.share(), "wanted_more_cpu": WANTED, "summary": found, "rows": rows}
    args.output.write_text(shown({"observability": report}))
    return 0


@contextlib.contextmanager
def _collector(folder: Path, core: int | None) -> Iterator[str]:
    """Its URL."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.collector", str(port)]
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with started(command, folder / "collector.log", core, paths):
        wait_for_listener(port)
        yield f"http://127.0.0.1:{port}"


def _said(row: Row) -> str:
    off, on = row["off"], row["on"]
    return (
        f"round {row['round']} {row['variant']:<16}{row['measure']:<9}{off['cpu_ms_per_call']:>9.4f} ms CPU a call, "
        f"{on['cpu_ms_per_call']:.4f} with it, {off['errors'] + on['errors']} errors"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="shorter; its figures are worth nothing")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULT)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
