"""One run of the load against whoever stands, with the CPU time that it took there."""

import contextlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gateway.processes import pinned
from benchmarks.gateway.standing import Bench, Standing
from benchmarks.gateway.usage import cpu_s, memory_mib, waited_s

_PATIENCE_S = 60.0
"""Beyond what the run should take."""

ERRORS = (
    "refused",
    "broken",
    "unanswered",
    "lost_events",
    "reordered_events",
    "outstanding_events",
    "unfinished_streams",
)

Row = dict[str, Any]


class LoadFailed(Exception):
    """The load ended without a result: nobody listens any more, or it hung."""


@dataclass(frozen=True, slots=True)
class Load:
    """Flags of the program, which documents them."""

    warmup_s: float
    seconds: float
    flags: tuple[str, ...] = ()


def run(
    bench: Bench, target: Standing, request: bytes, load: Load, progress: Callable[[int], None] = lambda _: None
) -> Row:
    """What was seen, with `cpu_s` and `waited_s` of the target within the measured time, `memory_mib` at its end."""
    samples: dict[str, Row] = {}
    result: Row | None = None
    with _loading(bench, target, request, load) as output:
        for line in output:
            said = json.loads(line)
            if "at" in said:
                samples[said["at"]] = _sample(target, with_memory=said["at"] == "end")
            elif "statuses" in said:
                result = said
            else:
                progress(said["calls"])
    if result is None:
        raise LoadFailed("the load ended without a result")
    return {**result, **_spent(samples, result)}


@contextlib.contextmanager
def _loading(bench: Bench, target: Standing, request: bytes, load: Load) -> Iterator[Any]:
    with tempfile.NamedTemporaryFile(dir=bench.folder, suffix=".http", delete=False) as file:
        file.write(request)
    command = [str(bench.native.load), "--port", str(target.port), "--request", file.name, *load.flags]
    command += ["--warmup", f"{load.warmup_s:g}", "--seconds", f"{load.seconds:g}"]
    process = subprocess.Popen(pinned(bench.cores.load, command), stdout=subprocess.PIPE, text=True)
    guard = threading.Timer(load.warmup_s + load.seconds + _PATIENCE_S, process.kill)
    guard.start()
    try:
        yield process.stdout
    finally:
        guard.cancel()
        process.kill()
        process.communicate()
        Path(file.name).unlink()


def _sample(target: Standing, with_memory: bool) -> Row:
    if target.process_id is None:
        return {}
    sample: Row = {"cpu_s": cpu_s(target.process_id), "waited_s": waited_s(target.process_id)}
    if with_memory:
        sample["memory_mib"] = round(memory_mib(target.process_id), 1)
    return sample


def _spent(samples: Mapping[str, Row], result: Row) -> Row:
    begin, end = samples.get("begin", {}), samples.get("end", {})
    if not begin or not end:
        return {}
    spent = {name: round(end[name] - begin[name], 3) for name in ("cpu_s", "waited_s")}
    return {**spent, "memory_mib": end["memory_mib"]}


def errors(row: Row) -> int:
    """Calls and events that were not as they should be."""
    return sum(row.get(name, 0) for name in ERRORS)
