#!/usr/bin/env bash
# Everything that is measured, about three quarters of an hour: raw JSON in benchmarks/results/.
# Run it on a machine that does nothing else, and quote ratios of one run, not times.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/python benchmarks/store_cost.py
PYTHONPATH=. .venv/bin/python benchmarks/engine_stalls.py
.venv/bin/python benchmarks/scheduler_overhead.py
bash benchmarks/run_demo.sh
