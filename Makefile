# Two commands for users: `make demo` and `make test`. The rest is for those who work on soa-db itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Bytecode too stays within .venv: `make demo` leaves nothing beside it but .soa-db.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
# It is written, whatever the shell says: the tests start hundreds of interpreters.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check format generate bench docs lock servers clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.demo: requirements/demo.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what the demo needs (once) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/demo.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what the tests need (once) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## the whole idea on real servers, in under a minute
	@$(BIN)/soa-db demo

servers: $(VENV)/.dev  ## the servers the tests need beyond what pip installs (Debian: postgresql-15, pgbouncer, redis-server)
	@$(BIN)/python tools/install_servers.py

test: $(VENV)/.dev servers  ## every test: unit, servers, faults, cli, architecture
	@$(BIN)/python tools/run_tests.py

check: $(VENV)/.dev  ## ruff, mypy strict, pyright on the public faces, import-linter, generated files up to date
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/basedpyright --warnings
	@PYTHONPATH=src $(BIN)/lint-imports --no-cache
	@$(BIN)/python tools/generate.py --check

format: $(VENV)/.dev  ## put the code in its usual form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: $(VENV)/.dev  ## make _sync/ from _async/, and the JSON Schema of db-access.yaml
	@$(BIN)/python tools/generate.py

bench: $(VENV)/.dev  ## ratios against the bare drivers and the peers, in one run (ONLY="name name": some of them)
	@$(BIN)/python -m bench $(ONLY)

docs: $(VENV)/.dev  ## the documentation, built strictly
	@$(BIN)/python -m mkdocs build --strict --quiet

lock:  ## pin and hash the requirements anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url --no-emit-find-links --quiet --extra local requirements/build.in pyproject.toml -o requirements/demo.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url --no-emit-find-links --quiet --all-extras --group dev --group docs requirements/build.in -c requirements/demo.txt pyproject.toml -o requirements/dev.txt

clean:  ## remove what make made
	rm -rf $(VENV) .soa-db site dist .coverage* .pytest_cache .mypy_cache .ruff_cache
