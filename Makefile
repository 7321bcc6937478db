# Everything a person does here, one target each. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that runs and is new enough would do; 3.11 is what the versions were tested with.
PYTHON ?= $(shell for p in python3.11 python3; do "$$p" -c "" 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
EXTRAS := train,tune,dev
# For example PIP_FLAGS="--extra-index-url URL" to take torch's CPU build, see README.
PIP_FLAGS ?=
PYTEST_FLAGS ?=
# Processes that tests run on; 0 = in this one, for debuggers.
WORKERS ?= auto
DEMO_FLAGS ?=

# Two cores and small networks: threads inside numpy and torch only get in each other's way.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup warm demo test test-slow test-vm check release-check format lint types clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: warm ## make .venv, install what the other targets need, warm; the second time does nothing

warm: $(STAMP) ## compile the model, so that nobody waits for it later
	@$(BIN)/zswap-gym warm

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
	  echo "zswap-gym: no python3 found; install Python 3.11 or newer, or run make PYTHON=/path/to/python" >&2; exit 2; fi
	@"$(PYTHON)" -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else \
	  f"zswap-gym: $(PYTHON) is Python {v}; 3.11 or newer is needed: run make PYTHON=/path/to/python3.11")'
	"$(PYTHON)" -m venv $(VENV) || { echo "zswap-gym: $(PYTHON) cannot make a virtual environment;" \
	  "install its venv package (python3-venv on Debian)" >&2; exit 2; }
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: warm ## train on recorded traces, compare with the laws, export, control, report (under 10 minutes)
	$(BIN)/zswap-gym demo $(DEMO_FLAGS)

test: warm ## the tests that take under 5 minutes together, on all cores
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(PYTEST_FLAGS)

test-slow: warm ## the tests that take longer (under 20 minutes), on all cores
	$(BIN)/python -m pytest -n $(WORKERS) -m slow $(PYTEST_FLAGS)

test-vm: $(STAMP) ## the controller on Debian's own kernels under QEMU (under 12 minutes); says so where it cannot run
	$(BIN)/python -m pytest tests/vm -p no:randomly --durations 8 $(PYTEST_FLAGS)

check: format lint types test ## everything to run before a commit

release-check: $(STAMP) ## build what people install, install it elsewhere, walk the road (3 minutes)
	$(BIN)/python tests/release/check.py

format: $(STAMP) ## rewrite the layout of the sources
	$(BIN)/ruff format .

lint: $(STAMP) ## ruff, all rules but the justified exceptions
	$(BIN)/ruff check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

clean: ## remove .venv, caches and build output; leaves runs/ alone
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
