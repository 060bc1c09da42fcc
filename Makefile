# Every verb of the project. Needs python3 (>= 3.11) with venv, and make; what some need more is said beside them.
.DEFAULT_GOAL := help
.PHONY: help install run demo test quick mutants lint check bench clients dashboard openapi contract fuzz deploy lock package vendor-docs image clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --require-hashes --no-deps --only-binary :all:
UV_LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --system-certs

DASHBOARD := examples/dashboard

SWAGGER_UI := 5.35.0
SWAGGER_UI_FILES := LICENSE NOTICE favicon-32x32.png swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css

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

PORTS := $(if $(PORT),--port $(PORT)) $(if $(SANDBOX_PORT),--sandbox-port $(SANDBOX_PORT))

run: $(VENV)/.run ## Run the sandbox farm and the gateway against it, until Ctrl-C, on PORT and SANDBOX_PORT
	@exec $(BIN)/python -m app demo $(PORTS)

demo: $(VENV)/.run $(DASHBOARD)/dist/index.html ## Run both with the dashboard, three times as fast as life (needs Node.js >= 20.19 with npm)
	@RFGW_DEMO_DIR=$(DASHBOARD)/dist exec $(BIN)/python -m app demo --speed 3 $(PORTS)

TEST_PROCESSES ?= 5
# Tests begin hundreds of Python processes: compiled modules are kept for the next one, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE
PARALLEL := --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev ## Run the whole test suite, in TEST_PROCESSES processes (COVERAGE=1: a third longer, and see that it covers enough of the code)
	$(BIN)/python -m pytest $(PARALLEL) $(if $(COVERAGE),--cov --cov-report=term)

quick: $(VENV)/.dev ## Run the tests that need no port, process or browser: for while you work
	$(BIN)/python -m pytest -q -m quick --numprocesses $(TEST_PROCESSES)

mutants: $(VENV)/.dev clients/typescript/node_modules/.package-lock.json ## Put small faults in, one by one, and see that tests notice each (ONLY="lease deadline" for some; needs Node.js >= 20.19 with npm)
	$(BIN)/python -m tests.mutants $(ONLY)

lint: $(VENV)/.dev ## Check style, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: test lint ## Run lint and tests; .ci/run runs whatever else has to hold, too

bench/.venv/.done: bench/requirements.lock
	$(PYTHON) -m venv bench/.venv
	bench/.venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
		--only-binary :all: -r bench/requirements.lock
	@touch $@

bench: $(VENV)/.dev bench/.venv/.done ## Compare with other ways, side by side (wrk; node and nginx if there)
	@if command -v npm >/dev/null; then npm ci --silent --ignore-scripts --prefix bench/peers/express; fi
	$(BIN)/python -m bench $(BENCH)

clients/check/.venv/.done: clients/check/requirements.lock
	$(PYTHON) -m venv clients/check/.venv
	clients/check/.venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
		--only-binary :all: -r clients/check/requirements.lock
	@touch $@

clients/typescript/node_modules/.package-lock.json: clients/typescript/package-lock.json
	cd clients/typescript && npm ci --ignore-scripts --loglevel=error

clients/check/node_modules/.package-lock.json: clients/check/package-lock.json
	cd clients/check && npm ci --ignore-scripts --loglevel=error

clients: $(VENV)/.dev clients/check/.venv/.done clients/check/node_modules/.package-lock.json clients/typescript/node_modules/.package-lock.json ## Make clients of the documents, and try them on a live gateway (needs Go, a JDK with the Jakarta annotations, Mono, and Node.js >= 20.19 with npm)
	$(BIN)/python -m pytest clients/check

$(DASHBOARD)/node_modules/.package-lock.json: $(DASHBOARD)/package-lock.json
	cd $(DASHBOARD) && npm ci --ignore-scripts --loglevel=error

$(DASHBOARD)/dist/index.html: clients/typescript/node_modules/.package-lock.json $(DASHBOARD)/node_modules/.package-lock.json \
		$(wildcard clients/typescript/src/* $(addprefix $(DASHBOARD)/,index.html public/* src/* *.json *.js))
	cd clients/typescript && npm run --silent build
	cd $(DASHBOARD) && npm run --silent build -- --logLevel warn

dashboard: $(VENV)/.dev $(DASHBOARD)/dist/index.html ## Build the dashboard, and look at it in a browser (needs chromium-headless-shell, and Node.js >= 20.19 with npm)
	$(BIN)/ruff check $(DASHBOARD)
	$(BIN)/python -m pytest $(DASHBOARD)/check

openapi: $(VENV)/.dev ## Record the examples, and write the OpenAPI documents with them
	$(BIN)/python -m openapi.record

openapi/node_modules/.installed: openapi/package-lock.json
	cd openapi && npm ci --ignore-scripts --loglevel=error
	@touch $@

contract: $(VENV)/.dev openapi/node_modules/.installed ## Lint, compare and fuzz the OpenAPI documents (needs Node.js >= 20.19 with npm)
	cd openapi && node_modules/.bin/redocly lint openapi.json openapi-3.0.json
	$(BIN)/python -m pytest tests/test_openapi.py tests/test_openapi_3_0.py tests/test_breaking.py
	$(BIN)/python -m openapi.breaking
	$(BIN)/python -m openapi.fuzz

deploy: $(VENV)/.dev ## Check compose, manifests, alerts and dashboard, build the image and run it (needs buildah, bubblewrap, debootstrap, kubectl, promtool)
	$(BIN)/python -m pytest deploy/check

fuzz/.venv/.done: requirements.lock fuzz/requirements.lock
	$(PYTHON) -m venv fuzz/.venv
	fuzz/.venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
		--only-binary :all: -r requirements.lock -r fuzz/requirements.lock
	@touch $@

FUZZ_SECONDS ?= 60

fuzz: fuzz/.venv/.done ## Fuzz the decoder and the header readers, each for FUZZ_SECONDS (needs CPython 3.11 to 3.13 on Linux)
	fuzz/.venv/bin/python -m fuzz $(FUZZ_SECONDS)

lock: $(VENV)/.dev ## Write the locked requirements anew from pyproject.toml
	$(UV_LOCK) pyproject.toml --extra redis --output-file requirements.lock
	$(UV_LOCK) pyproject.toml --extra redis --extra otel --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(UV_LOCK) clients/check/requirements.in --output-file clients/check/requirements.lock
	$(UV_LOCK) fuzz/requirements.in --output-file fuzz/requirements.lock
	echo 'setuptools>=77' | $(UV_LOCK) --no-annotate - --output-file requirements-build.lock

package: ## Install the package as its users do, and run its command
	rm -rf build && $(PYTHON) -m venv build/venv
	build/venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
		--only-binary :all: -r requirements-build.lock -r requirements.lock
	build/venv/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps .
	cd build && venv/bin/rfgw --version && venv/bin/rfgw openapi | cmp - ../openapi/openapi.json

vendor-docs: ## Fetch Swagger UI anew into app/docs/static/swagger-ui (needs npm)
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	npm pack --silent --pack-destination "$$tmp" swagger-ui-dist@$(SWAGGER_UI) >/dev/null; \
	tar -xzf "$$tmp"/*.tgz -C "$$tmp"; \
	cd app/docs/static/swagger-ui && rm -f *; \
	for file in $(SWAGGER_UI_FILES); do install -m 644 "$$tmp/package/$$file" .; done; \
	sha256sum $(SWAGGER_UI_FILES) > SHA256SUMS

image: ## Build the container image (needs docker)
	docker build --tag renderfarm-gateway .

clean: ## Remove the environment and everything generated
	rm -rf openapi/node_modules $(DASHBOARD)/node_modules $(DASHBOARD)/dist fuzz/.venv fuzz/found clients/check/.venv clients/check/node_modules clients/typescript/node_modules clients/typescript/dist clients/typescript/build clients/typescript/LICENSE
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
