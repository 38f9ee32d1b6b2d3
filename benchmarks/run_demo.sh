#!/usr/bin/env bash
# fcfs and justitia on recorded applications, through a real engine: benchmarks/results/demo_traces.json.
# TRACES is a folder with the recordings (see its README); further flags go to `justitia demo` and win.
# Without recordings it is the demo's own sample: benchmarks/results/demo_sample.json.
set -euo pipefail
cd "$(dirname "$0")/.."
traces=${TRACES:-../shared/traces}
if [ ! -e "$traces/apps_tau_airline.jsonl.gz" ]; then
  exec .venv/bin/justitia demo --rounds 3 --json benchmarks/results/demo_sample.json "$@"
fi
exec .venv/bin/justitia demo \
  --traces "$traces/apps_tau_airline.jsonl.gz" "$traces/apps_hotpot_react.jsonl.gz" \
  --arrivals "$traces/arrivals_azure2023_conv.csv.gz" \
  --applications 60 --window-s 60 --kv-blocks 640 --max-model-len 8192 \
  --rounds 3 --json benchmarks/results/demo_traces.json "$@"
