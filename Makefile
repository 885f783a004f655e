# make demo   runs the main job for real: SMTP sink, genro-mail-proxy, a Celery worker; nothing to install first
# make test   all tests
# make matrix all tests on every supported Python and Celery: an hour
# make check  what CI runs: lint, types, structure, docs, all tests, and the oldest Celery
# Each makes its own virtual environment (.venv) and fetches what it needs from the package index.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
NOX_ARGS ?=

.PHONY: help demo test unit bench matrix oldest check lint format types structure docs clean

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

# Two processes at once; benchmarks by themselves, for two at once would measure each other.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --ignore tests/benchmarks -n 2 --dist loadfile $(PYTEST_ARGS)
	$(BIN)/python -m pytest tests/benchmarks -s $(PYTEST_ARGS)

unit: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks -s $(PYTEST_ARGS)

matrix: $(VENV)/.dev
	$(BIN)/python -m nox $(NOX_ARGS)

oldest: $(VENV)/.dev
	$(BIN)/python -m nox --tags celery-5.3 -- tests/unit tests/contract tests/integration/test_outcomes.py

check: lint types structure docs test oldest

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

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) .cache site dist .mypy_cache .ruff_cache .hypothesis
