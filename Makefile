# make demo   runs the main job for real: SMTP sink, genro-mail-proxy, a Celery worker; nothing to install first
# make test   the tests: about eight minutes on two idle cores
# make test-all  adds every broker with every result backend, all databases and benchmarks
# make matrix all tests on every supported Python, Celery and Django: an hour and more
# make chaos  thousands of emails while everything is killed: CHAOS_SEED=7 CHAOS_ARGS="--all", ten minutes for each pair
# make django  the Django tests on every supported Django and Python
# make package  builds wheel and sdist, checks them, and sends an email with the installed wheel
# make audit  looks for weaknesses in the code (bandit) and in what it is built on (pip-audit, which needs the network)
# make check  what CI runs: lint, types, structure, audit, docs, package, all tests, the oldest Celery, the oldest and
#             newest Django
# Each makes its own virtual environment (.venv) and fetches what it needs from the package index.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
NOX_ARGS ?=
CHAOS_SEED ?= 1
CHAOS_ARGS ?=

.PHONY: help demo test test-all unit bench chaos matrix django django-bounds oldest check lint format types structure docs \
	audit package clean

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/python -m examples.demo

# Every part at once, and one summary of them.
test: $(VENV)/.dev
	$(BIN)/python -m tests $(PYTEST_ARGS)

test-all: $(VENV)/.dev
	$(BIN)/python -m tests --full $(PYTEST_ARGS)

unit: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks -s $(PYTEST_ARGS)

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --seed $(CHAOS_SEED) $(CHAOS_ARGS)

matrix: $(VENV)/.dev
	$(BIN)/python -m nox $(NOX_ARGS)

django: $(VENV)/.dev
	$(BIN)/python -m nox --tags django $(NOX_ARGS)

django-bounds: $(VENV)/.dev
	$(BIN)/python -m nox --tags django-bounds $(NOX_ARGS) -- --ignore tests/django/log/test_postgresql.py \
		--ignore tests/django/log/test_mariadb.py --ignore tests/django/admin/test_browser.py

oldest: $(VENV)/.dev
	$(BIN)/python -m nox --tags celery-5.3 -- tests/unit tests/contract tests/integration/sending/test_outcomes.py \
		tests/integration/canvas/test_redis_redis.py

check: lint types structure audit docs package test-all oldest django-bounds

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

structure: $(VENV)/.dev
	$(BIN)/lint-imports

audit: $(VENV)/.dev
	$(BIN)/python .ci/audit.py

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet

package: $(VENV)/.dev
	$(BIN)/python .ci/package.py

clean:
	rm -rf $(VENV) .cache site dist .mypy_cache .ruff_cache .hypothesis
