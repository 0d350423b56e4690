# What a developer types. Needs make and Python 3.11 or newer; everything else is fetched into $(VENV), once.
#
#   make demo      install the runtime, start examples/hello, say what to try
#   make test      every test                              make check   format, lint, types, imports, map, links
#   make bench     figures beside other proxies            make load    users against a Service, pods over time as a picture
#   make map       write the maps, docs/settings.md       make image   the container image

VENV ?= .venv
LOAD_VENV ?= .venv-load
BIN = $(VENV)/bin
UP_FLAGS ?=
PYTEST_FLAGS ?= -n 3
BENCH_FLAGS ?=
LOAD_FLAGS ?=
PACKAGES = dataplane gateway activator queueproxy autoscaler broker controlplane launch

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif

# Bytecode is the cold start: never run without it.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PATH := $(abspath $(BIN)):$(PATH)

# Stamps: what has been installed for this pyproject.toml.
RUN = $(VENV)/.installed-run
DEV = $(VENV)/.installed-dev
BENCH = $(VENV)/.installed-bench
LOAD = $(LOAD_VENV)/.installed-load

.PHONY: help demo setup test check bench load map image changelog clean
.DELETE_ON_ERROR:

help:
	@sed -n '3,6s/^#  //p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed and none was found; say which: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -f $(BIN)/python*; \
	  echo "make: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUN): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $(RUN) $@

$(BENCH): pyproject.toml | $(RUN)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

$(LOAD): pyproject.toml
	@test -x $(LOAD_VENV)/bin/python || $(PYTHON) -m venv $(LOAD_VENV)
	$(LOAD_VENV)/bin/python -m pip install --quiet --editable '.[load]'
	@touch $@

setup: $(DEV)

demo: $(RUN)
	@printf '%s\n' '' 'When it says "ready", try in another terminal:' '' \
	  '  curl http://hello.default.localhost:8080          # from zero' \
	  '  $(BIN)/dataplane invoke hello                     # the same without curl' \
	  '  $(BIN)/dataplane get ksvc -w                      # what is there, as it changes' \
	  '  $(BIN)/dataplane explain ksvc/hello               # why there are that many pods' \
	  '  KUBECONFIG=$$($(BIN)/dataplane kubeconfig) kubectl get ksvc' '' 'Ctrl-C ends it.' ''
	@exec $(BIN)/dataplane up -f examples/hello/ $(UP_FLAGS)

test: $(DEV)
	$(BIN)/python -m pytest -ra $(PYTEST_FLAGS)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples/embed/*.py
	$(BIN)/lint-imports
	$(BIN)/python tools/map.py --check
	$(BIN)/python tools/settings.py --check
	$(BIN)/python tools/links.py

bench: $(BENCH)
	@for tool in wrk nginx haproxy; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; fi
	$(BIN)/python loadtests/bench.py $(BENCH_FLAGS)

load: $(LOAD)
	$(LOAD_VENV)/bin/python loadtests/pods_over_time.py $(LOAD_FLAGS)

map: $(DEV)
	$(BIN)/python tools/map.py
	$(BIN)/python tools/settings.py

image:
	@engine=$$(command -v podman || command -v docker) || { echo "make: podman or docker is needed" >&2; exit 1; }; \
	$$engine build -t dataplane .

changelog:
	$(BIN)/python tools/changelog.py $(VERSION)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find $(PACKAGES) tests tools loadtests examples -name __pycache__ -type d -prune -exec rm -rf {} +
