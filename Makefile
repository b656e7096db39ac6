# make demo: set up, then run an agent, kill its daemon in the middle of a turn, and resume its session
# make test: set up, then run every test
# make check: format, lint, types, pinned dependencies, documentation and the generated copies of the protocol
# make schema: generate those copies again
# make bench: speed, with the floor of each figure    make soak: reliability, for as long as you like
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup
DOCUMENTED := tests/test_docs.py tests/test_contract.py tests/test_words.py

.PHONY: demo test check style types documented schema lock bench bench-peers soak format clean
.DEFAULT_GOAL := test

$(SETUP): pyproject.toml constraints-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "treadle needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints-dev.txt --editable '.[dev]'
	@touch $@

demo: $(SETUP)
	@$(BIN)/python tests/tools/demo.py

# Many workers, which often wait for a daemon. CHECKED=yes: without what `make check` has run.
test: $(SETUP)
	$(BIN)/python -m pytest --dist worksteal -n $$($(BIN)/python -c "import os; print(2 * os.cpu_count())") $(if $(CHECKED),$(DOCUMENTED:%=--ignore=%))

check: style types documented

style: $(SETUP)
	$(BIN)/ruff check daemon tests
	$(BIN)/ruff format --check daemon tests
	$(BIN)/python tests/tools/lock.py --check

types: $(SETUP)
	$(BIN)/mypy

documented: $(SETUP)
	$(BIN)/python -m pytest -n auto $(DOCUMENTED)

schema: $(SETUP)
	$(BIN)/python tests/tools/contract.py

# Pins the versions that are installed now: run it after an upgrade that passed the tests.
lock: $(SETUP)
	$(BIN)/python tests/tools/lock.py

bench: $(SETUP)
	$(BIN)/python tests/benchmarks

bench-peers: $(SETUP)
	$(BIN)/python tests/benchmarks/peers.py

# MINUTES=60 make soak: the promises of docs/reliability.md, for an hour, AGENT_KILLS kills of daemons and agents, and
# IMPORT_KILLS kills of imports and PURGE_KILLS kills of purges
MINUTES ?= 10
AGENT_KILLS ?= 100
IMPORT_KILLS ?= 60
PURGE_KILLS ?= 60
soak: $(SETUP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris || echo "atheris is not available: no coverage-guided fuzzing"
	$(BIN)/python tests/tools/soak.py --minutes $(MINUTES) --agent-kills $(AGENT_KILLS) --import-kills $(IMPORT_KILLS) --purge-kills $(PURGE_KILLS)

format: $(SETUP)
	$(BIN)/ruff check --fix daemon tests
	$(BIN)/ruff format daemon tests

clean:
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
