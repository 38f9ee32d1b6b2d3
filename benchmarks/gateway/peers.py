"""Side by side: calls at saturation, streams in bursts, latency at a steady rate; rounds in alternation.

Every contender is started anew in every round and measured alone, so that none is measured only when the machine was
slow. `direct` is the upstream without a gateway, measured in each round: added latency is against that.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.gateway.contenders import DIRECT, Contender
from benchmarks.gateway.installed import NotInstalled
from benchmarks.gateway.load import Load, LoadFailed, Row, errors, run
from benchmarks.gateway.processes import NotStarted
from benchmarks.gateway.standing import Bench, Standing, standing

CONNECTIONS = 32
EVENTS = 32
_OPEN_CONNECTIONS = 256
"""At a rate: enough that a call waits for a connection only where the contender has long fallen behind."""
_NAMES_APART = 1_000_000
"""Each measure has applications of its own."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of each measure, and how many calls share an application's name."""

    rounds: int = 3
    warmup_s: float = 2.0
    unary_s: float = 6.0
    bursts_s: float = 5.0
    latency_s: float = 10.0
    calls_per_application: int = 20


QUICK = Sizes(rounds=1, warmup_s=1.0, unary_s=2.0, bursts_s=2.0, latency_s=4.0)


def measured(bench: Bench, chosen: Sequence[Contender], sizes: Sizes) -> tuple[list[Row], dict[str, str]]:
    """Every round of everybody, and why somebody is left out."""
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for number in range(sizes.rounds):
        for contender in (None, *chosen):
            name = DIRECT if contender is None else contender.name
            if name in left_out:
                continue
            try:
                for row in _round_of(contender, bench, sizes):
                    rows.append({"round": number, "contender": name, **row})
                    print(_said(rows[-1]), flush=True)
            except (NotInstalled, NotStarted, LoadFailed) as error:
                left_out[name] = str(error)
                print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
    return rows, left_out


def _round_of(contender: Contender | None, bench: Bench, sizes: Sizes) -> list[Row]:
    rate = 200.0 if contender is None else contender.rate
    with standing(contender, bench) as target:
        rows = [_unary(bench, target, sizes), _bursts(bench, target, sizes), _latency(bench, target, sizes, rate)]
        if contender is None:  # those that cannot keep up are compared at what they can
            rows.append(_latency(bench, target, sizes, 50.0))
        return rows


def _unary(bench: Bench, target: Standing, sizes: Sizes) -> Row:
    flags = ("--connections", str(CONNECTIONS), *_naming(sizes, 0))
    load = Load(sizes.warmup_s, sizes.unary_s, flags)
    return {"measure": "unary", **_per_call(run(bench, target, target.request("burst-32"), load))}


def _bursts(bench: Bench, target: Standing, sizes: Sizes) -> Row:
    flags = ("--connections", str(CONNECTIONS), "--events", str(EVENTS), *_naming(sizes, 1))
    load = Load(sizes.warmup_s, sizes.bursts_s, flags)
    return {"measure": "bursts", **_per_call(run(bench, target, target.request("burst-32", is_stream=True), load))}


def _latency(bench: Bench, target: Standing, sizes: Sizes, rate: float) -> Row:
    flags = ("--connections", str(_OPEN_CONNECTIONS), "--rate", f"{rate:g}", *_naming(sizes, 2))
    load = Load(sizes.warmup_s, sizes.latency_s, flags)
    return {"measure": "latency", "rate": rate, **_per_call(run(bench, target, target.request("burst-32"), load))}


def _naming(sizes: Sizes, measure: int) -> Sequence[str]:
    return ("--reuse", str(sizes.calls_per_application), "--names-from", str(measure * _NAMES_APART))


def _per_call(row: Row) -> Row:
    row = {**row, "calls_per_s": round(row["calls"] / row["seconds"], 1)}
    if "cpu_s" in row and row["calls"]:
        row["cpu_ms_per_call"] = round(row["cpu_s"] / row["calls"] * 1000, 4)
        row["busy"] = round(row["cpu_s"] / row["seconds"], 3)
    return row


def _said(row: Row) -> str:
    text = f"round {row['round']}  {row['contender']:<28} {row['measure']:<8} {row['calls_per_s']:>9,.0f}/s"
    text += f"  P50 {row['p50_ms']:.2f}  P99 {row['p99_ms']:.2f} ms"
    if "cpu_ms_per_call" in row:
        text += f"  {row['cpu_ms_per_call']:.3f} ms CPU  busy {row['busy']:.0%}  {row['memory_mib']:.0f} MiB"
    return f"{text}  ERRORS {errors(row)}" if errors(row) else text
