# Everything a newcomer needs: `make demo`, `make test`. The site: `make docs`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DOCS   := $(VENV)/.ready-docs

.PHONY: demo test test-all bench lint docs linkcheck setup clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(READY)

demo: $(READY)
	$(BIN)/chartae demo --out runs/demo --overwrite

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# a thread for each of the two workers: more wait for one another
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

test-all: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/run.py

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# all pages anew (executed cells are cached), and a warning is an error: a link that leads nowhere, a docstring that does not parse, a cell that raises
docs: $(DOCS)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -E -a -W --keep-going -n -q -b html docs docs/_build/html
	@echo "the site is docs/_build/html; python -m http.server -d docs/_build/html 8000 shows it"

linkcheck: $(DOCS)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/linkcheck

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache dist build docs/_build docs/api
