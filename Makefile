# Every target sets up what it needs; a second run starts in seconds. See CONTRIBUTING.md.
PYTHON ?= python3
PY := .venv/bin/python
PROFILE ?= embedded
# pytest's arguments: make test ARGS="tests/ledger -x". Two workers use two cores without crowding a laptop.
ARGS ?= -n 2
export PROFILE

.DEFAULT_GOAL := help
.PHONY: help demo test test-browser packages check lint smoke bench docs format clean install install-dev

help: ## show what there is to do
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install:
	@$(PYTHON) modelfaucet/bootstrap.py

install-dev:
	@$(PYTHON) modelfaucet/bootstrap.py --dev

demo: install ## run everything on this machine: database, demo data, provider, server, sweeper (PORT=8000)
	@$(PY) manage.py quickstart

test: install-dev ## run all tests (on the embedded PostgreSQL, or on DATABASE_URL)
	@$(PY) -m pytest $(ARGS)

test-browser: install-dev ## walk through the pages in Chromium (apt-get install chromium); screenshots in var/screenshots
	@$(PY) -m pytest $(ARGS) -m browser tests/browser

packages: install-dev ## build, type-check, test and pack every package of packages/
	@packages/build.sh

check: lint packages test test-browser ## what CI runs: format, lint, types, imports, migrations, system checks, docs, tests

lint: install-dev docs ## everything of `make check` but the tests
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports
	@$(PY) manage.py makemigrations --check --dry-run
	@$(PY) manage.py check --fail-level WARNING

smoke: install ## the whole loop without a person: session, calls, usage, rating, ledger, revenue, verify_ledger
	@$(PY) manage.py smoke

bench: install-dev ## measure side by side with other gateways; writes a table into docs/ (see benchmarks/)
	@$(PY) benchmarks/run.py

docs: install-dev ## build the documentation, warnings are errors
	@$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

format: install-dev ## format the code and mend what can be mended
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean: ## remove what was built and installed; the data in var/ stays
	rm -rf .venv .venv.lock docs/_build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './node_modules/*' -prune -exec rm -rf {} +
