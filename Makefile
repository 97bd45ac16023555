# Everything a fresh clone needs, in one command each. `make help` lists them.
# Set-up is done once and again only when requirements.lock, pyproject.toml or the pinned uv changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
VENV := .venv
PYTHON := $(VENV)/bin/python
UV := $(VENV)/uv-$(UV_VERSION)/bin/uv
LOCKED := $(VENV)/.locked
PROJECT := $(VENV)/.project
ARGS ?=
WORKERS ?= 2

# Byte code: each test of a process, and each run, would else compile the project anew.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE
export UV_NO_PROGRESS := 1
# Where the system has certificates uv trusts those, which include a company's own; else the ones that it brings along.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /System/Library/Security),)
export UV_SYSTEM_CERTS ?= true
endif

.PHONY: help setup demo up test soak check format lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(PROJECT) ## environment and locked dependencies (every other command does this by itself)

demo: $(PROJECT) ## the whole system on real data; stays up until Ctrl-C (ARGS=--once ends after the summary)
	@exec $(VENV)/bin/cmms demo $(ARGS)

up: $(PROJECT) ## the services without the demo's data, against your own external API
	@exec $(VENV)/bin/cmms up $(ARGS)

test: $(PROJECT) ## the whole test suite (ARGS=tests/domain for a part of it)
	@$(PYTHON) -m pytest -n $(WORKERS) -m "not soak" $(ARGS)

soak: $(PROJECT) ## the full form of the long tests
	@$(PYTHON) -m pytest -m soak $(ARGS)

check: $(PROJECT) ## format, lint, types, layers, dbt project and both code locations
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/check

format: $(PROJECT) ## put the code into the form that `make check` asks for
	@$(VENV)/bin/ruff format -q .
	@$(VENV)/bin/ruff check -q --fix .

lock: $(UV) ## choose new versions of all dependencies
	@$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-emit-index-url --no-header -q -o requirements.lock

clean: ## remove the environment and what tools left behind; the data under .cmms stays
	@rm -rf $(VENV) build dbt_models/target dbt_models/logs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.cmms/*' -prune -exec rm -rf {} +

$(UV):
	@python=$$(tools/find-python) && echo "Creating the environment with $$($$python --version)" && $$python -m venv --clear $(VENV)
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --no-input --target $(VENV)/uv-$(UV_VERSION) uv==$(UV_VERSION)

$(LOCKED): requirements.lock | $(UV)
	@echo "Installing the locked dependencies"
	@$(UV) pip sync -q --python $(PYTHON) --compile-bytecode requirements.lock
	@touch $@

$(PROJECT): pyproject.toml $(LOCKED)
	@$(UV) pip install -q --python $(PYTHON) --no-deps -e .
	@touch $@
