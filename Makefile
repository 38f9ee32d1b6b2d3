# Two commands do everything: `make run` and `make test`. Both set up what is missing first.

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup run test check versions mutants studies bench bench-gateway bench-observability chaos soak dashboards clean

help: ## List these commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 24

setup: .venv/.ready ## Make .venv with everything that run and test need.

.venv/.ready: pyproject.toml deploy/setup.sh deploy/engine-cpu-overrides.txt deploy/client-overrides.txt
	bash deploy/setup.sh

run: setup ## Real engine, gateway and applications: fcfs beside justitia; then it stays up.
	$(BIN)/justitia demo --keep

test: setup ## All tests: real redis-server, real vLLM, real clients.
	$(BIN)/python -m pytest --durations 20 --durations-min 5

check: setup ## Lint, types, import contracts, full coverage of the pure half.
	bash deploy/check.sh

versions: setup ## The tests without an engine, on the oldest and the newest libraries; PYTHON=3.12.
	bash deploy/check_versions.sh

mutants: setup ## Plant faults one at a time; every one must be caught.
	$(BIN)/python tests/mutants/run.py

studies: setup ## The simulated studies alone: benchmarks/results/, docs/results.md.
	$(BIN)/python -m benchmarks.studies

bench: setup ## Measure and write benchmarks/results/.
	bash benchmarks/run.sh

bench-gateway: setup ## The gateway beside its peers; FLAGS=--quick, --streams or "--soak 1000000".
	$(BIN)/python -m benchmarks.gateway $(FLAGS)

chaos: setup ## Kill Redis, engine and gateway under load, and see it through; FLAGS=--short.
	$(BIN)/python -m benchmarks.chaos $(FLAGS)

soak: setup ## Half an hour of steady traffic: does anything grow? FLAGS="--minutes N".
	$(BIN)/python -m benchmarks.soak $(FLAGS)

bench-observability: setup ## What metrics, spans and logs of every call cost; FLAGS=--quick.
	$(BIN)/python -m benchmarks.observability $(FLAGS)

dashboards: setup ## Write the dashboards of deploy/grafana/ and deploy/kubernetes/ from deploy/dashboards/.
	$(BIN)/python -m deploy.dashboards
	$(BIN)/python deploy/kubernetes/generate.py

clean: ## Remove what setup made.
	rm -rf .venv
