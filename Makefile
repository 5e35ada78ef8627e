# One line each; CI runs the same targets. `make help` lists them.
SHELL := /bin/bash
CACHE := $(or $(EDGEWRIGHT_CACHE),$(HOME)/.cache/edgewright)
UV_VERSION := 0.13.9
export UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
PY := .venv/bin/python
MEMBERS := operator/api operator/build operator/controller edge-node[server] cli lab

.PHONY: help setup binaries demo test check unit integration e2e fix crds bench constraints clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.synced  ## make .venv from the pinned, hashed constraints

$(UV):
	python3 -m venv $(CACHE)/uv-$(UV_VERSION) && $(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.synced: constraints.txt $(wildcard */pyproject.toml operator/*/pyproject.toml) | $(UV)
	$(UV) venv --quiet --allow-existing --python 3.11 .venv
	$(UV) pip sync --quiet --python $(PY) --require-hashes constraints.txt
	$(UV) pip install --quiet --python $(PY) --no-deps $(addprefix -e ,$(MEMBERS))
	@touch $@

binaries: setup  ## build and cache the control plane's binaries (about 5 minutes, once)
	$(PY) -m edgewright_lab build

demo: setup  ## train, build, prove, roll out, update and roll back on a real control plane; KEEP=1 leaves it running
	$(PY) -m demo $(if $(KEEP),--keep)

test: check unit integration e2e  ## everything that CI runs

check: setup  ## format, lint, types, import contracts, generated files
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/mypy operator/api/src operator/build/src operator/controller/src edge-node/src cli/src lab/src demo tests bench
	.venv/bin/lint-imports --config .importlinter
	$(PY) -m edgewright_api.crd --check && $(PY) -m edgewright_api.spec --check

unit: setup  ## unit tests: no I/O, two seconds each at most
	.venv/bin/pytest tests/unit --timeout=2 -q

integration: binaries  ## integration tests on the real API server, object store, agents and servers
	.venv/bin/pytest tests/integration -q

e2e: binaries  ## the demo, as a user sees it
	.venv/bin/pytest tests/e2e -q

fix: setup  ## format and mend what can be mended
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

crds: setup  ## write crds/, the chart's copy and the tables of docs/spec from the models
	$(PY) -m edgewright_api.crd && $(PY) -m edgewright_api.spec

bench: binaries  ## benchmarks against peers; tables and bench/results/*.json
	$(PY) -m bench

constraints: $(UV)  ## pin the newest dependencies that are at least a week old
	$(UV) lock --quiet --upgrade && $(UV) export --quiet --all-packages --all-extras --no-emit-workspace --no-header --format requirements-txt -o constraints.txt

clean:  ## remove the virtual environment and caches inside the repository
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache bench/results
