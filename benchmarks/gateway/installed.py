"""Contenders' programs, each in a folder of its own under the user's cache, of one version that is written down."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_INSTALL_TIMEOUT_S = 600.0


class NotInstalled(Exception):
    """One line: why this contender is left out."""


@dataclass(frozen=True, slots=True)
class Packages:
    """What one folder holds. `system` are programs that the machine has or has not."""

    source: Literal["pip", "npm", "system", "here"]
    names: tuple[str, ...]

    def described(self) -> str:
        return ", ".join(self.names)


def cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "justitia-bench"


def installed(name: str, packages: Packages) -> Path:
    """The folder with the programs; made when it is not there or holds something else. Raises NotInstalled."""
    folder = cache_folder() / name
    match packages.source:
        case "here":
            return folder
        case "system":
            for program in packages.names:
                if shutil.which(program) is None:
                    raise NotInstalled(f"no {program} here: apt-get install {program}")
            return folder
        case "pip" | "npm":
            _install(folder, packages)
            return folder


def _install(folder: Path, packages: Packages) -> None:
    done = folder / ".installed"
    wanted = "\n".join(packages.names)
    if done.exists() and done.read_text() == wanted:
        return
    print(f"installing {packages.described()} …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if packages.source == "pip":
        _carried_out([sys.executable, "-m", "venv", str(folder)], packages)
        _carried_out([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages.names], packages)
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise NotInstalled("no npm here: apt-get install npm")
        (folder / "package.json").write_text(json.dumps(npm_package(packages.names)))
        _carried_out([npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder)], packages)
    done.write_text(wanted)


def npm_package(names: tuple[str, ...]) -> dict[str, object]:
    """Of `name@version`: wanted here, and of no other version by anybody below either."""
    versions = {name: version for name, _, version in (one.rpartition("@") for one in names)}
    return {"private": True, "dependencies": versions, "overrides": versions}


def _carried_out(command: list[str], packages: Packages) -> None:
    began = time.monotonic()
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"{packages.described()}: not installed after {time.monotonic() - began:.0f} s") from error
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["it said nothing"]
        # pip warns of much before it says what is wrong, npm after it.
        errors = [line for line in lines if "err" in line.lower()] or lines
        raise NotInstalled(f"{packages.described()}: {errors[0].strip()[:300]}")
