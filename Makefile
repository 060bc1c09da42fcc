# Every verb of the project. Needs python3 (>= 3.11) with venv, and make; nothing else by hand.
.DEFAULT_GOAL := help
.PHONY: help install run test lint check openapi lock image clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --require-hashes --no-deps --only-binary :all:
UV_LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --system-certs

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(INSTALL) -r requirements-dev.lock
	@touch $@

install: $(VENV)/.dev ## Make the environment in .venv, from the locked requirements

run: $(VENV)/.run ## Run the sandbox farm and the gateway against it, until Ctrl-C
	@exec $(BIN)/python -m app demo

test: $(VENV)/.dev ## Run the whole test suite
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(VENV)/.dev ## Check style, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: test lint ## Run everything that has to hold

openapi: $(VENV)/.run ## Write the OpenAPI document
	$(BIN)/python -m app openapi > openapi/openapi.json

lock: $(VENV)/.dev ## Write the locked requirements anew from pyproject.toml
	$(UV_LOCK) pyproject.toml --output-file requirements.lock
	$(UV_LOCK) pyproject.toml --group dev --constraints requirements.lock --output-file requirements-dev.lock

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
