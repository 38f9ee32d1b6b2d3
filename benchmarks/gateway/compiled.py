"""The two ends of the benchmark, in C so that they are not what is measured: built when it runs, installed nowhere."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).parent / "native"


@dataclass(frozen=True, slots=True)
class Native:
    upstream: Path
    load: Path


def built(folder: Path) -> Native:
    """Both programs, in `folder`. Raises RuntimeError where there is no compiler or it refuses."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler (cc): apt-get install gcc libc6-dev")
    programs = Native(folder / "upstream", folder / "load")
    for program in (programs.upstream, programs.load):
        source = _SOURCES / f"{program.name}.c"
        command = [compiler, "-O2", "-std=gnu11", "-Wall", "-o", str(program), str(source), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{source.name} does not compile:\n{done.stderr}")
    return programs
