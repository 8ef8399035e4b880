# The same verbs for people and for CI. `make setup` is run by each of them when it is needed.
#
#   setup   make .venv with the pinned, hashed dependencies
#   demo    one photo through the whole pool on this machine
#   test    the tests, two at a time (T=path narrows it, N=0 is one at a time, ARGS=... is passed to pytest; ARGS='-m
#           "slow and not campaign"' runs those that .ci/run adds)
#   check   format, lint, types, import contracts, alert rules, manifests, Dockerfile
#   bench   measurements, written to benchmarks/RESULTS.md
#   chaos   the tests that kill and stall the pool, alone, then the fuzzer on the image work for FUZZ_SECONDS (600)
#   attack  attack every promise against real servers and print what held
#   gallery draw gallery/index.html: test photos and everything that is made of them, for eyes
#   picture run the demo and draw docs/demo.svg and docs/demo.jpg from it
#   rules   carry the alert rules into the manifests
#   lock    resolve the dependencies again and write the lock files
#   clean   remove what these verbs made

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := metrics pipelines providers storage worker
T ?= tests
N ?= 2
ARGS ?=
PHOTO ?=
FUZZ_SECONDS ?= 600

STAMP := $(VENV)/.installed

.PHONY: help setup demo test check bench chaos attack gallery picture rules lock clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

$(STAMP): requirements/dev.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Dayfly needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@.ci/packages run
	@"$(PYTHON)" -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	$(BIN)/dayfly demo $(PHOTO)

test: $(STAMP)
	@.ci/packages test
	$(BIN)/python -m pytest -n $(N) --dist worksteal $(ARGS) $(T)

check: $(STAMP)
	@.ci/packages check
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/check

bench: $(STAMP)
	$(BIN)/python -m benchmarks

chaos: $(STAMP)
	$(BIN)/python -m pytest -m "campaign or not campaign" -k "crash or kill or stall or campaign" --timeout 300 $(ARGS) tests
	$(BIN)/python -m tests.pipelines.fuzz $(FUZZ_SECONDS)

attack: $(STAMP)
	@.ci/packages test
	$(BIN)/python -m tests.attack $(ARGS)

gallery: $(STAMP)
	PYTHONPATH="$(CURDIR)" $(BIN)/python -m examples.gallery

picture: $(STAMP)
	$(BIN)/python .ci/demo-picture

rules: $(STAMP)
	$(BIN)/python .ci/prometheus-rule

# No registry host is written into the lock files: they pin versions and hashes, the machine knows where to look.
UV_FLAGS := --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --no-header
UV_COMPILE := $(BIN)/uv pip compile pyproject.toml $(UV_FLAGS)
UV_COMPILE_GROUP := $(BIN)/uv pip compile $(UV_FLAGS)

lock:
	test -x $(BIN)/python || "$(PYTHON)" -m venv "$(VENV)"
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV_COMPILE) --extra embedded --extra local --extra heic --extra s3 --extra kms --extra webhooks --extra bedrock --extra vertex \
	  --group dev -o requirements/dev.lock $(ARGS)
	$(UV_COMPILE) --extra local --extra s3 --extra kms --extra webhooks --extra bedrock --extra vertex \
	  -c requirements/dev.lock -o requirements/runtime.lock $(ARGS)
	$(UV_COMPILE_GROUP) --group build -c requirements/dev.lock -o requirements/build.lock $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dayfly-demo
	find $(ROOMS) tests -name __pycache__ -type d -prune -exec rm -rf {} +
