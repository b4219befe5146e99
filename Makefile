# Everything runs in $(VENV), which is made on first use; a Python from 3.11 on is all it needs.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
PORT ?= 8000
PYTEST_ARGS ?=
IN := $(VENV)/bin

.PHONY: demo test lint conformance bench build clean
.DEFAULT_GOAL := test

# Serves the Starlette example, shows what gets through and what is refused, goes on serving.
demo: $(VENV)/.demo
	@$(IN)/python examples/tour.py --port $(PORT)

test: $(VENV)/.test
	@test -n "$$SAFETY_TEST_REDIS" || echo "Tests with Redis are skipped: SAFETY_TEST_REDIS=redis://127.0.0.1:6379/0 runs them."
	@test -n "$$SAFETY_TEST_POSTGRES" || echo "Tests with PostgreSQL are skipped: SAFETY_TEST_POSTGRES=postgresql://postgres@127.0.0.1:5432/test runs them."
	@test -n "$$SAFETY_TEST_CHROMIUM" || echo "Tests in a browser are skipped: SAFETY_TEST_CHROMIUM=/usr/bin/chromium runs them."
	$(IN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.test $(VENV)/.lint
	@failed=; for check in "ruff check" "ruff format --check" "lint-imports --no-cache" mypy "pyright --pythonpath $(IN)/python"; do \
	  echo "$$check"; $(IN)/$$check || failed="$$failed, $$check"; \
	done; test -z "$$failed" || { echo "Failed: $${failed#, }" >&2; exit 1; }

# The frameworks' own tests, with the middleware installed and without.
conformance: $(VENV)/.pip
	$(IN)/python conformance/run.py $(TARGETS)

bench: $(VENV)/.test
	$(IN)/python bench/inprocess.py

build: $(VENV)/.build
	rm -rf dist
	$(IN)/python -m build

clean:
	rm -rf $(VENV) dist .conformance

# One stamp for each dependency group of pyproject.toml.
$(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.build: $(VENV)/.%: $(VENV)/.pip pyproject.toml
	$(IN)/python -m pip install --quiet --editable '.[all]' --group $*
	@touch $@

# --group needs pip 25.1
$(VENV)/.pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(IN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@
