"""Plant faults one at a time in a copy of the code and demand that the tests named beside each of them fail.

    python tests/mutants/run.py              all faults of tests/mutants/*_faults.py
    python tests/mutants/run.py lua memory   those whose file or reason contains one of the words

A fault is a dict: `file`, `old` (occurs exactly once in it), `new`, `why` it matters, `tests` (what pytest is given).
The tests pass on the untouched copy first. Exit 1 if a fault survives or can no longer be planted.
"""

import contextlib
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("gateway", "predictor", "engine_patch", "tests", "docs", "benchmarks", "README.md", "pyproject.toml")
PARALLEL = 2
TIMEOUT_S = 240
"""A fault that makes a test hang is caught too; the slowest clean run takes a tenth of this."""

CAUGHT, SURVIVED, HUNG = "caught", "SURVIVED", "caught (hung)"


@dataclass(frozen=True, slots=True)
class Fault:
    file: str
    old: str
    new: str
    why: str
    tests: str


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: str
    seconds: float
    output: str = ""


def load_faults(words: list[str]) -> list[Fault]:
    modules = sorted(Path(__file__).parent.glob("*_faults.py"))
    faults = [Fault(**row) for module in modules for row in runpy.run_path(str(module))["FAULTS"]]
    return [fault for fault in faults if not words or any(word in fault.file + fault.why for word in words)]


def copy_tree(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def plant(copy: Path, fault: Fault) -> None:
    """Raises LookupError if the code has moved on from under the fault."""
    path = copy / fault.file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text.count(fault.old) != 1:
        raise LookupError(f"the old text occurs {text.count(fault.old)} times in {fault.file}, not once")
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def run_python(copy: Path, *arguments: str) -> tuple[int | None, str]:
    """Python on the copy, not on the installed checkout: (exit code or None if it hung, output)."""
    # No bytecode: two versions of a file, equal in size and written within a second, would share it.
    env = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=copy,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _kill_group(process.pid)
        output, _ = process.communicate()
        return None, output
    _kill_group(process.pid)
    return process.returncode, output


def _kill_group(leader: int) -> None:
    """The process with the servers it started, if any are left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def run_tests(copy: Path, tests: str) -> tuple[int | None, str]:
    options = ("-x", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--no-header", "--tb=short")
    return run_python(copy, "-m", "pytest", *options, *shlex.split(tests))


def judge(fault: Fault) -> Verdict:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = copy_tree(Path(folder))
        try:
            plant(copy, fault)
        except LookupError as error:
            return Verdict(f"ERROR: {error}", 0.0)
        code, output = run_tests(copy, fault.tests)
    seconds = time.monotonic() - started
    match code:
        case None:
            return Verdict(HUNG, seconds)
        case 0:
            return Verdict(SURVIVED, seconds)
        case 1:
            return Verdict(CAUGHT, seconds)
        case _:  # not a failed test: a broken import, nothing collected, a wrong option
            return Verdict(f"ERROR: pytest ended with {code}", seconds, output)


def check_untouched(faults: list[Fault]) -> str | None:
    """What is wrong with the copy before any fault is planted, or None."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = copy_tree(Path(folder))
        _, imported = run_python(copy, "-c", "import gateway; print(gateway.__file__)")
        if not Path(imported.strip()).is_relative_to(copy.resolve()):
            return f"the copy is not what is imported, but {imported.strip()}"
        named = {word for fault in faults for word in shlex.split(fault.tests)}
        paths = sorted(word for word in named if word.startswith("tests/"))
        code, output = run_tests(copy, shlex.join(paths))
    return None if code == 0 else f"the tests fail on the untouched copy:\n{output}"


def main() -> int:
    faults = load_faults(sys.argv[1:])
    if not faults:
        print("no such fault", file=sys.stderr)
        return 1
    wrong = check_untouched(faults)
    if wrong is not None:
        print(wrong, file=sys.stderr)
        return 1
    missed = 0
    with ThreadPoolExecutor(PARALLEL) as pool:
        for fault, verdict in zip(faults, pool.map(judge, faults), strict=True):
            print(f"{verdict.outcome:13} {verdict.seconds:5.1f} s  {fault.file}: {fault.why}", flush=True)
            if verdict.outcome not in (CAUGHT, HUNG):
                missed += 1
                print(verdict.output, end="")
    print(f"{len(faults) - missed} of {len(faults)} faults caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
