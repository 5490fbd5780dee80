# Two commands do all the set-up and work: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all:

.PHONY: demo test prove bench docs resolve lint clean oldest

demo: $(VENV)/installed
	$(BIN)/goafetch demo

test: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not prove"

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The long proofs: full-size truth, kills, random faults. Not run by CI. Says why any is skipped.
prove: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m prove -rs

bench: $(VENV)/installed-test
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/installed-test
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

# Every platform and Python that README names must be installable from wheels alone.
resolve: $(VENV)/installed-test
	$(BIN)/python benchmarks/resolve.py

# The suite with the oldest dependencies that pyproject allows, and with the newest on each Python found.
oldest: $(VENV)/installed-test
	$(BIN)/python benchmarks/versions.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --prefer-binary --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(PIP) "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --prefer-binary --editable '.[test]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist *.egg-info goafetch-demo
