"""The first hour of on-call: kill -9 of Redis, of the engine, of the gateway and of one of two. make chaos

    python -m benchmarks.chaos [--rounds 2] [--output FILE]       some three minutes a round
    python -m benchmarks.chaos --short                            a scripted engine, a scrape a second: two minutes

A real `justitia serve`, redis-server, Prometheus with our rules, and vLLM with the tiny model on the CPU; what is
killed is started again after some seconds, as compose and Kubernetes do, and nobody does anything else. Redis comes
back empty, which is the worst that it can do. Writes benchmarks/results/chaos.json and the table of docs/runbook.md.
Exit status 1 where something did not come back, a call hung, or one ended without a word.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.chaos import tables
from benchmarks.chaos.callers import CUT_OFF, HUNG, Callers
from benchmarks.chaos.kills import KILLS
from benchmarks.chaos.stage import FULL, SHORT, Form, staged
from benchmarks.chaos.story import told
from benchmarks.gateway.processes import ends_cleanly_when_told
from gateway.demo.surroundings import StolenTime, machine, versions

Row = dict[str, Any]


def carried_out(form: Form, rounds: int, folder: Path) -> Row:
    """Raises TimeoutError where something does not come back by itself."""
    rows: list[Row] = []
    ended: Counter[str] = Counter()
    num_begun = 0
    for num_gateways, kills in groupby(KILLS, lambda kill: kill.num_gateways):
        chosen, own_folder = [*kills], folder / str(num_gateways)
        own_folder.mkdir()
        with staged(own_folder, form, num_gateways) as stage, Callers(stage.urls, form.num_callers) as callers:
            for number in range(rounds):
                rows += [_said({"round": number, **told(stage, callers, kill)}) for kill in chosen]
            callers.finish()
        ended.update(callers.between(0.0, float("inf")))
        num_begun += callers.num_begun
    return {"callers": form.num_callers, "rounds": rounds, "begun": num_begun, "ended": dict(ended), "rows": rows}


def _said(row: Row) -> Row:
    print(json.dumps(row), flush=True)
    return row


def faults(report: Row) -> list[str]:
    """What must not be, in words."""
    found = [f"{how}: {report['ended'][how]}" for how in (HUNG, CUT_OFF) if how in report["ended"]]
    if report["begun"] != sum(report["ended"].values()):
        found.append("calls have no end")
    return found + [
        f"the order after the death of {row['killed']}: {row['order']}"
        for row in report["rows"]
        if row["order"]["inverted_pairs"] or row["order"]["clock_went_back"] or not row["order"]["applications"]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    ends_cleanly_when_told()
    surroundings: Row = {
        "machine": machine(),
        "versions": versions(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "short": args.short,
    }
    stolen = StolenTime()
    with tempfile.TemporaryDirectory(prefix="justitia-chaos-") as folder:
        found = carried_out(SHORT if args.short else FULL, args.rounds, Path(folder))
    report = {**surroundings, "stolen_share": stolen.share(), **found}
    output = args.output or (None if args.short else tables.RESULT)
    if output is not None:
        output.write_text(json.dumps(report, indent=1) + "\n")
    if output == tables.RESULT:
        tables.written()
    print(tables.chaos_table(report))
    print("\n".join(wrong := faults(report)) or "all came back by itself")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
