# Every target sets itself up: a virtual environment from the committed lock, nothing by hand.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
DATA ?= .insource
STAMP := $(VENV)/.ready

.PHONY: demo up down test cluster-build cluster-test cluster-up cluster-down node-test check format generate clean \
	bench-reconcile bench-reconcile-embedded bench-reconcile-real bench-reconcile-floor \
	bench-gateway bench-gateway-faults bench-ledger bench-upload-memory bench-embedded-api

demo: $(STAMP)
	@$(BIN)/python -m insource demo $(if $(STEP),--step $(STEP)) --data $(DATA)

up: $(STAMP)
	@$(BIN)/insource up --data $(DATA)

down: $(STAMP)
	@$(BIN)/insource down --data $(DATA)

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not e2e and not cluster and not node" $(PYTEST_ARGS)
	@$(BIN)/python -m pytest -q -m "e2e and not cluster and not node" $(PYTEST_ARGS)

cluster-build: $(STAMP)
	@$(BIN)/python -m tests.cluster.binaries > /dev/null

cluster-test: cluster-build
	@$(BIN)/python -m pytest -q -m cluster $(PYTEST_ARGS)

# A node on this machine (root, Linux), or Docker's by kind, or the one that KUBECONFIG_FOR_TESTS names.
cluster-up cluster-down: $(STAMP)
	@$(BIN)/python -m tests.node $(subst cluster-,,$@)

node-test: $(STAMP)
	@$(BIN)/python -m tests.node test $(PYTEST_ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m insource.api.crdgen --check crds charts/insource/files/crds
	@$(BIN)/python -m bench.performance --check

format: $(STAMP)
	@$(BIN)/ruff check --fix -q . || true
	@$(BIN)/ruff format -q .

generate: $(STAMP)
	@$(BIN)/python -m insource.api.crdgen crds charts/insource/files/crds
	@$(BIN)/python -m bench.performance

# On the embedded API server, and on a real one with KWOK's nodes.
bench-reconcile: bench-reconcile-embedded bench-reconcile-real

bench-reconcile-embedded: $(STAMP)
	@$(BIN)/python -m bench.reconcile

bench-reconcile-real bench-reconcile-floor: cluster-build
	@$(BIN)/python -m bench.$(subst -,_,$(patsubst bench-%,%,$@))

bench-gateway bench-gateway-faults bench-ledger bench-upload-memory bench-embedded-api: $(STAMP)
	@$(BIN)/python -m bench.$(subst -,_,$(patsubst bench-%,%,$@))

$(STAMP): requirements/dev.txt requirements/tools.txt pyproject.toml
	@echo "insource: setting up $(VENV) from the lock (once)"
	@$(BIN)/python -c pass 2>/dev/null && $(BIN)/uv --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@test -x $(BIN)/uv || { $(BIN)/python -m ensurepip >/dev/null 2>&1; $(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION); }
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync -q requirements/dev.txt requirements/tools.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --no-deps --no-build-isolation --offline -e .
	@$(BIN)/python -m insource.local.tools $(BIN)
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
