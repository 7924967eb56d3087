PYTHON ?= python3
BIN := .venv/bin
# By the module, not by the scripts, whose first line cannot name every folder.
PIP_INSTALL := pip install --quiet --disable-pip-version-check

# `make run PORT=9000`
ifdef PORT
export REPORTSIM_PORT := $(PORT)
endif

.PHONY: help run test test-slow faults races check coverage bench screenshots replay clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# One plain command and no shell around it, so that signals reach the service and make waits for its end.
run: .venv/service.stamp ## start the service with its own PostgreSQL; PORT=9000 for another port
	@$(BIN)/python -m reportsim serve

# More at once than there are cores: much of what the tests do is waiting.
test: .venv/dev.stamp ## run the tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" --numprocesses 4 --dist worksteal

# pytest's 5 says that there is no such test.
test-slow: .venv/dev.stamp .venv/generators/stamp ## run the slow tests
	$(BIN)/python -m pytest -m slow --numprocesses 2 --dist worksteal || test $$? -eq 5

faults: .venv/dev.stamp ## kill a service a hundred times, restart its database, drop its connections
	FAULT_KILLS=100 $(BIN)/python -m pytest tests/faults -s

races: .venv/dev.stamp ## 500 races and 100 short benchmarks, none of which may lose a callback
	FAULT_RACES=500 FAULT_BENCHMARKS=100 $(BIN)/python -m pytest tests/faults/test_races.py -s

check: .venv/dev.stamp ## format, lint, types, import directions
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

coverage: .venv/dev.stamp ## simulate how often intervals hold the truth; writes the table of docs/benchmark.md
	$(BIN)/python -m benchmarks.coverage --write docs/benchmark.md

bench: .venv/dev.stamp .venv/peers/stamp ## measure what is claimed about speed; writes docs/performance.md; ARGS=--full for more
	$(BIN)/python -m benchmarks $(ARGS)

screenshots: .venv/dev.stamp ## make the pictures of the documentation anew
	$(BIN)/python -m tools.screenshots

replay: .venv/dev.stamp ## record the race of docs/replay.html anew
	$(BIN)/python -m tools.replay

clean: ## remove the environment and what tools left behind; the data stay
	rm -rf .venv build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The project itself needs nothing but what the hashes have vouched for, not even to be built.
.venv/service.stamp: setup.cfg pyproject.toml requirements/build.txt requirements/service.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f"reportsim needs Python 3.11 or newer, $(PYTHON) is {v}: make PYTHON=python3.11 ...")'
	@echo "making .venv: once, and after a change of the requirements"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m $(PIP_INSTALL) --require-hashes --requirement requirements/build.txt --requirement requirements/service.txt
	@$(BIN)/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/service.stamp requirements/dev.txt
	@$(BIN)/python -m $(PIP_INSTALL) --require-hashes --requirement requirements/dev.txt
	@touch $@

# What the benchmarks compare the service with, and the service itself.
.venv/peers/stamp: setup.cfg pyproject.toml requirements/build.txt requirements/peers.txt
	@$(PYTHON) -m venv .venv/peers
	@.venv/peers/bin/python -m $(PIP_INSTALL) --require-hashes --requirement requirements/build.txt --requirement requirements/peers.txt
	@.venv/peers/bin/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# What makes clients of the OpenAPI document, with dependencies of their own.
.venv/generators/stamp: tests/generators/requirements.txt tests/generators/package-lock.json
	@$(PYTHON) -m venv .venv/generators
	@.venv/generators/bin/python -m $(PIP_INSTALL) --require-hashes --requirement tests/generators/requirements.txt
	@cp tests/generators/package.json tests/generators/package-lock.json .venv/generators/
	@if command -v npm >/dev/null; then npm ci --prefix .venv/generators --silent --no-audit --no-fund; fi
	@touch $@
