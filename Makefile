# make demo: set up, then play a recorded agent session through a real daemon
# make test: set up, then run every test
# make check: lint, types, docs and schema    make schema: write docs/schema.json and the tables of docs/protocol.md
# make bench: speed, beside its floor    make soak: reliability, at length
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup

.PHONY: demo test check lock schema bench bench-peers soak format clean
.DEFAULT_GOAL := test

$(SETUP): pyproject.toml constraints-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "treadle needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints-dev.txt --editable '.[dev]'
	@touch $@

demo: $(SETUP)
	@$(BIN)/python tests/demo.py

test: $(SETUP)
	$(BIN)/python -m pytest -n auto

check: $(SETUP)
	$(BIN)/ruff check daemon tests
	$(BIN)/ruff format --check daemon tests
	$(BIN)/mypy
	$(BIN)/python tests/tools/lock.py --check
	$(BIN)/python -m pytest -n auto tests/test_docs.py tests/test_contract.py tests/test_words.py

# make lock: upgrade the development tools and pin what was installed
lock:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python tests/tools/lock.py
	@touch $(SETUP)

schema: $(SETUP)
	$(BIN)/python tests/contract.py

bench: $(SETUP)
	$(BIN)/python tests/benchmarks

bench-peers: $(SETUP)
	$(BIN)/python tests/benchmarks/peers.py

# MINUTES=60 make soak: the promises of docs/reliability.md for as long as there is time
MINUTES ?= 10
soak: $(SETUP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris || echo "no atheris: no fuzzing by coverage"
	$(BIN)/python tests/soak.py --minutes $(MINUTES)

format: $(SETUP)
	$(BIN)/ruff check --fix daemon tests
	$(BIN)/ruff format daemon tests

clean:
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
