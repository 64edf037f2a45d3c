# make ask Q="..."   set everything up, index seeds/ when needed, and answer
# make test          everything that CI checks
.PHONY: ask test lint types unit clean
PYTHON ?= python3
BIN := .venv/bin
Q ?= Who wrote that Russian influence on the Council is overestimated?

ask: .venv/ready
	@$(BIN)/qabot index >&2
	@$(BIN)/qabot ask "$(Q)"; code=$$?; test $$code -le 1

test: .venv/ready-dev lint types unit

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready-dev
	$(BIN)/mypy qabot tests benchmarks training

unit: .venv/ready-dev
	$(BIN)/python -m pytest --cov=qabot --cov-report=term

.venv/ready: pyproject.toml
	@echo "Setting up .venv: this takes about a minute and 2 GB ..." >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/ready-dev: .venv/ready
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

clean:
	rm -rf .venv index
