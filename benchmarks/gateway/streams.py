"""Streams held open: hundreds and thousands at once, 20 events a second in each, every event's way timed."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.gateway.contenders import DIRECT, Contender
from benchmarks.gateway.installed import NotInstalled
from benchmarks.gateway.load import Load, LoadFailed, Row, errors, run
from benchmarks.gateway.processes import NotStarted
from benchmarks.gateway.standing import Bench, standing
from benchmarks.gateway.usage import memory_mib

RATE = 20
"""Events a second of one stream: the upstream's model `paced-20`."""

_WARM_CALLS = Load(0.5, 1.0, ("--connections", "32"))


@dataclass(frozen=True, slots=True)
class Step:
    streams: int
    seconds: float

    @property
    def ramp_s(self) -> float:
        """In which they begin, one by one: a burst of connections is another measurement."""
        return max(2.0, self.streams / 250)


STEPS = (Step(500, 15.0), Step(1000, 15.0), Step(2000, 60.0))
QUICK_STEPS = (Step(500, 4.0),)


def measured(bench: Bench, chosen: Sequence[Contender], steps: Sequence[Step]) -> tuple[list[Row], dict[str, str]]:
    """A row for every step of everybody who holds streams, and why somebody is left out."""
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for step in steps:
        for contender in (None, *(one for one in chosen if one.holds_streams)):
            name = DIRECT if contender is None else contender.name
            if name in left_out:
                continue
            try:
                rows.append({"contender": name, **_held(contender, bench, step)})
                print(_said(rows[-1]), flush=True)
            except (NotInstalled, NotStarted, LoadFailed) as error:
                left_out[name] = str(error)
                print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
    return rows, left_out


def _held(contender: Contender | None, bench: Bench, step: Step) -> Row:
    # A second more than is measured: none ends before the time is over.
    events = int(RATE * (step.ramp_s + step.seconds + 1))
    flags = ("--hold", "--connections", str(step.streams), "--events", str(events), "--names-from", "1000000")
    with standing(contender, bench) as target:
        run(bench, target, target.request("burst-32"), _WARM_CALLS)
        before_mib = None if target.process_id is None else memory_mib(target.process_id)
        request = target.request("paced-20", max_tokens=events, is_stream=True)
        row = run(bench, target, request, Load(step.ramp_s, step.seconds, flags))
    row = {"streams": step.streams, **row, "due_events": int(step.streams * RATE * step.seconds)}
    if before_mib is not None:
        row["busy"] = round(row["cpu_s"] / row["seconds"], 3)
        row["kib_per_stream"] = round((row["memory_mib"] - before_mib) * 1024 / step.streams, 1)
    return row


def _said(row: Row) -> str:
    text = f"{row['streams']:>5} streams  {row['contender']:<16} {row['events'] / row['due_events']:.1%} in time"
    text += f"  P50 {row['p50_ms']:.2f}  P99 {row['p99_ms']:.2f} ms"
    if "busy" in row:
        text += f"  busy {row['busy']:.0%}  {row['kib_per_stream']:.0f} KiB a stream"
    return f"{text}  ERRORS {errors(row)}" if errors(row) else text
