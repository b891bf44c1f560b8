# Everything sets itself up: a fresh clone needs Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
unexport PYTHONDONTWRITEBYTECODE # else each of the many processes that tests start compiles everything anew

.PHONY: help install install-dev check fix test faults demo serve compose lock bench bench-judge crash simulate mutants clean
help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

install: .venv/runtime.stamp ## the controller and its dependencies, by hash, into .venv
install-dev: .venv/dev.stamp ## what checks and tests need as well

.venv/runtime.stamp: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, and $(PYTHON) is %d.%d. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" % sys.version_info[:2])'
	@echo "Installing by hash into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements-dev.txt
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

check: install-dev ## ruff, format, mypy --strict, import contracts, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.architecture.sizes

fix: install-dev ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install-dev ## all tests; those whose real part is missing are skipped by name
	$(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder $(ARGS)

faults: install-dev ## real faults for long: replicas frozen and killed, PostgreSQL lost, networks; ARGS="--cycles 10"
	@$(BIN)/python -m tests.faults $(ARGS)

demo: install ## a good release travels R3 → R1 → R2, a bad one comes back; ARGS=--keep leaves it running
	@$(BIN)/rollout demo $(ARGS)

serve: install ## one controller on 127.0.0.1:8080 with regions.yaml and policies/ of this folder
	@$(BIN)/rollout serve $(ARGS)

compose: ## three regions in containers behind haproxy; needs podman-compose or docker compose
	@deploy/compose/up.sh

crash: install-dev ## a controller killed at every point of every story, on both databases; ARGS="--only gate"
	$(BIN)/python -m tests.crash $(ARGS)

simulate: install-dev ## whole rollouts in virtual time with faults at every step; SEEDS=0:5000
	$(BIN)/python -m tests.simulation $(or $(SEEDS),0:500)

bench: install-dev ## committed decisions a second beside plain transactions
	$(BIN)/python -m bench.store

bench-judge: install-dev ## the judge beside those of today's tools; ARGS="--quick --seeds 1"
	$(BIN)/python -m bench.judge $(ARGS)

mutants: install-dev ## bugs of our own, planted one at a time, and who notices them; ARGS="--only NAME --list --jobs 2"
	$(BIN)/python -m tests.mutants $(ARGS)

lock: install-dev ## requirements*.txt anew from pyproject.toml
	@$(PIP) install uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header pyproject.toml --extra postgres --group build -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

clean: ## remove what was made here, also what the demo kept
	rm -rf .venv var build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
