"""A million calls through ours alone, twenty for each application, and the memory of the process along the way.

Applications are closed soon after their last call, and few closed ones are remembered, so that what is left to grow is
what should not: an hour's worth of names passes through in minutes.
"""

import contextlib
import re
import urllib.request
from collections.abc import Sequence
from statistics import fmean

from benchmarks.gateway.contenders import CONTENDERS
from benchmarks.gateway.load import Load, Row, errors, run
from benchmarks.gateway.peers import CONNECTIONS
from benchmarks.gateway.standing import Bench, standing
from benchmarks.gateway.usage import resident_mib

CALLS_PER_APPLICATION = 20
MAX_SECONDS = 3600.0
WARM_SHARE = 0.3
"""Of the series: caches and the record of closed applications fill."""
TOLERANCE = 0.05

_SETTINGS = {
    "JUSTITIA_APPLICATIONS__IDLE_CLOSE_S": "1",
    "JUSTITIA_APPLICATIONS__SWEEP_INTERVAL_S": "0.5",
    "JUSTITIA_LEARNING__MAX_RECORDED": "2000",
}


def measured(bench: Bench, calls: int, max_seconds: float = MAX_SECONDS) -> Row:
    """The series and what it says; fewer calls where the time was over first."""
    [ours] = [one for one in CONTENDERS if one.name == "justitia"]
    report = max(1, min(10_000, calls // 20))
    flags = ("--connections", str(CONNECTIONS), "--calls", str(calls), "--report", str(report))
    series: list[Row] = []
    with standing(ours, bench, _SETTINGS) as target:
        assert target.process_id is not None
        process_id = target.process_id

        def progress(done: int) -> None:
            series.append({"calls": done, "memory_mib": round(resident_mib(process_id), 2)})
            if len(series) % 10 == 1:
                series[-1]["metric_series"] = num_metric_series(_metrics(target.port))
            print("  ".join(f"{name} {value:,}" for name, value in series[-1].items()), flush=True)

        load = Load(0.0, max_seconds, (*flags, "--reuse", str(CALLS_PER_APPLICATION)))
        seen = run(bench, target, target.request("burst-32"), load, progress)
        names = applications_named(_metrics(target.port))
    growth = grown([row["memory_mib"] for row in series])
    return {
        "asked_calls": calls,
        "calls": seen["ended"],
        "applications": seen["ended"] // CALLS_PER_APPLICATION,
        "seconds": seen["seconds"],
        "errors": errors(seen),
        "growth": None if growth is None else round(growth, 4),
        "is_flat": growth is not None and growth <= TOLERANCE,
        "applications_in_labels": names,
        "series": series,
    }


def grown(memory: Sequence[float]) -> float | None:
    """How far the last tenth lies above the first tenth after warm-up, as a share; None for too short a series."""
    warm = memory[int(len(memory) * WARM_SHARE) :]
    tenth = max(1, len(warm) // 10)
    return fmean(warm[-tenth:]) / fmean(warm[:tenth]) - 1 if len(warm) >= 4 else None


def num_metric_series(text: str) -> int:
    """Distinct names with labels in a Prometheus text."""
    return len({line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")})


def applications_named(text: str) -> int:
    """How many of the load's applications appear in labels: none should."""
    return len(set(re.findall(r'"(a\d{5}-\d{7})"', text)))


def _metrics(port: int) -> str:
    with contextlib.closing(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30)) as answer:
        text: bytes = answer.read()
        return text.decode()
