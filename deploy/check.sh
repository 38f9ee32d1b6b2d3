#!/usr/bin/env bash
# What `make check` runs. Each line fails by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin

"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
"$bin/lint-imports"

# The pure half: every branch, by the fast tests alone and few examples; long histories, adversaries and many come with
# `make test`.
export COVERAGE_FILE="${TMPDIR:-/tmp}/justitia-coverage"
"$bin/coverage" run -m pytest tests/fairness tests/identity tests/learning/test_watch.py tests/scheduling \
  --ignore-glob "tests/fairness/test_delay*" --ignore-glob "tests/fairness/test_virtual_clock_*" \
  -m "not redis and not engine" --hypothesis-profile covering
"$bin/coverage" report --fail-under=100 --show-missing
