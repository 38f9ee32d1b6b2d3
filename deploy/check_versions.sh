#!/usr/bin/env bash
# The tests that need no engine, with the oldest and the newest of all that the gateway may be installed with. What is in
# .venv is one choice of that, and the engine has a say in it. Another Python: PYTHON=3.12. For 3.13 the oldest are not
# built: `PYTHON=3.13 bash deploy/check_versions.sh highest`.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$(python3 -m site --user-base)/bin:$PATH"  # where setup put uv
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tools=(pytest pytest-asyncio hypothesis opentelemetry-proto schemathesis scipy)
tests=(tests/{http,stores,scheduling,fairness,identity,engines,learning,predictor,tracing,replay,properties} tests/test_*.py)
without_torch=(--ignore tests/predictor/test_network.py --ignore tests/predictor/test_baselines.py)
[ $# -gt 0 ] || set -- lowest-direct highest

for resolution in "$@"; do
  export VIRTUAL_ENV="$folder/$resolution"
  uv venv --quiet --python "${PYTHON:->=3.11,<3.13}" "$VIRTUAL_ENV"
  uv pip install --quiet --resolution "$resolution" --editable ".[predictor,tracing,demo,figures]"
  uv pip freeze --exclude-editable >"$folder/chosen.txt"
  uv pip install --quiet --constraint "$folder/chosen.txt" "${tools[@]}"
  echo "$resolution, $("$VIRTUAL_ENV/bin/python" --version)"
  "$VIRTUAL_ENV/bin/python" -m pytest -m "not engine" "${without_torch[@]}" "${tests[@]}"
done
