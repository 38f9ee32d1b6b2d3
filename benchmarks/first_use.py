"""How long the README's two commands take from nothing: a fresh clone, no virtual environment, no package cache.

    python benchmarks/first_use.py            writes benchmarks/results/first_use.json

`run_s` is until `make run` has printed its table and serves; it is then interrupted, as a user would. `test_s` is the
whole of `make test` after it, in the same clone. How fast packages come depends on where they come from.
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from gateway.demo.surroundings import StolenTime, machine

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "first_use.json"
SERVING = "Serving until Ctrl-C"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "justitia"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        environment |= {"UV_CACHE_DIR": f"{folder}/packages", "XDG_CACHE_HOME": f"{folder}/cache"}
        stolen = StolenTime()
        report = {
            "machine": machine(),
            "run_s": round(run_until_serving(clone, environment), 1),
            "test_s": round(test(clone, environment), 1),
            "stolen_share": stolen.share(),
        }
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def run_until_serving(clone: Path, environment: dict[str, str]) -> float:
    began = time.monotonic()
    process = subprocess.Popen(
        ["make", "run"], cwd=clone, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    is_serving = False
    for line in process.stdout:
        print(line, end="", flush=True)
        if SERVING in line:
            is_serving = True
            break
    elapsed = time.monotonic() - began
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    if not is_serving:
        raise SystemExit("make run ended before it served")
    return elapsed


def test(clone: Path, environment: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(["make", "test"], cwd=clone, env=environment, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
