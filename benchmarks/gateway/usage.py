"""CPU time and memory of a process and all that it has started, from /proc."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Stat:
    """Of one line of /proc/PID/stat (man 5 proc): the parent, and CPU time with that of children already gone."""

    parent: int
    cpu_s: float


def parsed_stat(line: str) -> Stat:
    """The name in parentheses may hold spaces and parentheses of its own."""
    fields = line[line.rindex(")") + 2 :].split()
    return Stat(parent=int(fields[1]), cpu_s=sum(map(int, fields[11:15])) * _TICK_S)


def descendants(root: int, parents: Mapping[int, int]) -> list[int]:
    """`root` and everything below it, where `parents` has the parent of each process."""
    children = defaultdict(list)
    for process, parent in parents.items():
        children[parent].append(process)
    found = [root]
    for process in found:
        found += children[process]
    return found


def tree(root: int) -> dict[int, Stat]:
    """By process; empty when `root` is gone."""
    stats = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = parsed_stat((entry / "stat").read_text())
            except OSError:  # gone since
                continue
    if root not in stats:
        return {}
    return {process: stats[process] for process in descendants(root, {one: stat.parent for one, stat in stats.items()})}


def cpu_s(root: int) -> float:
    """Steps of 10 ms."""
    return sum(stat.cpu_s for stat in tree(root).values())


def waited_s(root: int) -> float:
    """Time in which a thread could have run and others had its core; 0 where the kernel does not tell."""
    waited_ns = 0
    for process in tree(root):
        for threads in (_PROC / str(process) / "task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # gone since
                waited_ns += int(threads.read_text().split()[1])
    return waited_ns / 1e9


def memory_mib(root: int) -> float:
    """Shared pages are split among those who share them."""
    return sum(_proportional_kib(process) for process in tree(root)) * 1024 / _MIB


def resident_mib(process: int) -> float:
    """Of one process alone; cheap."""
    pages = int((_PROC / str(process) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _proportional_kib(process: int) -> int:
    try:
        for line in (_PROC / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
