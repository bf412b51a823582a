# Every target sets itself up: a virtual environment from the committed lock, nothing by hand.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
DATA ?= .insource
TRAINING := .insource/training-venv
FUZZING := .insource/fuzzing-venv
FUZZ_SECONDS ?= 60
STAMP := $(VENV)/.ready
# What every checkout may use again: ~/.cache/insource.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/insource
# Tests start our programs by the hundred: each would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE
# Twice as many workers as cores: tests wait for programs more than they compute.
PYTEST := $(BIN)/python -m pytest -q -n 4 --dist loadgroup --no-loadscope-reorder
# Where they may be, so that no worker reads all tests to run a few: tests/conftest.py refuses them elsewhere.
CLUSTER_TESTS := tests/charts tests/cluster tests/contract tests/operators

.PHONY: demo up down test cluster-build cluster-test cluster-up cluster-down cluster-images node-test image-reproducible check format generate clean \
	bench-reconcile bench-reconcile-embedded bench-reconcile-real bench-reconcile-floor \
	bench-gateway bench-gateway-faults bench-ledger bench-upload-memory bench-embedded-api bench-transcription-server bench-speech-server bench-speech-stream bench-text-server bench-embedding-server bench-image-server bench-units \
	train-image train-classifier image-sheet fuzz

demo: $(STAMP)
	@$(BIN)/python -m insource demo $(if $(STEP),--step $(STEP)) --data $(DATA)

up: $(STAMP)
	@$(BIN)/insource up --data $(DATA)

down: $(STAMP)
	@$(BIN)/insource down --data $(DATA)

test: $(STAMP)
	@$(PYTEST) -m "not e2e and not cluster and not node" $(PYTEST_ARGS)
	@$(PYTEST) tests/e2e -m "e2e and not cluster and not node" $(PYTEST_ARGS)

cluster-build: $(STAMP)
	@$(BIN)/python -m tests.cluster.binaries > /dev/null

cluster-test: cluster-build
	@$(PYTEST) $(CLUSTER_TESTS) -m cluster $(PYTEST_ARGS)

# A node on this machine (root, Linux), or Docker's by kind, or the one that KUBECONFIG_FOR_TESTS names.
cluster-up cluster-down cluster-images: $(STAMP)
	@$(BIN)/python -m tests.node $(subst cluster-,,$@)

node-test: $(STAMP)
	@$(BIN)/python -m tests.node test $(PYTEST_ARGS)

# Twice, the second time from nothing in another folder, and compared bit by bit (minutes).
image-reproducible: $(STAMP)
	@$(BIN)/python -m tests.node reproducible

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@MYPY_CACHE_DIR=$(CACHE)/mypy $(BIN)/mypy
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

bench-gateway bench-gateway-faults bench-ledger bench-upload-memory bench-embedded-api bench-transcription-server bench-speech-server bench-speech-stream bench-text-server bench-embedding-server bench-image-server bench-units: $(STAMP)
	@$(BIN)/python -m bench.$(subst -,_,$(patsubst bench-%,%,$@))

# The models that this repository trains itself (minutes), in an environment of their own; what comes out is committed.
train-image train-classifier image-sheet: $(TRAINING)/.ready
	@PYTHONPATH=operator:. $(TRAINING)/bin/python -m training.$(subst -,_,$(patsubst image-sheet,contact-sheet,$@))

$(TRAINING)/.ready: $(STAMP) requirements/train.txt
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(TRAINING)
	@VIRTUAL_ENV=$(TRAINING) $(BIN)/uv pip sync -q requirements/train.txt
	@touch $@

# Forms and SSML of any bytes, by atheris (Linux on x86_64), each target for FUZZ_SECONDS; FUZZ names some of them.
fuzz: $(FUZZING)/.ready
	@PYTHONPATH=operator:. $(FUZZING)/bin/python -m tests.fuzz.run $(FUZZ_SECONDS) $(FUZZ)

$(FUZZING)/.ready: $(STAMP) requirements/fuzz.txt
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(FUZZING)
	@VIRTUAL_ENV=$(FUZZING) $(BIN)/uv pip sync -q requirements/dev.txt requirements/fuzz.txt
	@touch $@

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
