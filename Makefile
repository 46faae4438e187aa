# Everything a newcomer needs: `make demo`, `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV = .venv
RUN = $(VENV)/bin/python -m
PYTEST = $(RUN) pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo check test test-slow test-all test-large audit fuzz docs clean

# The environment, made when absent or when what it is made from has changed. Python's own pip may
# be too old for dependency groups; constraints.txt pins the one that is used.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(RUN) pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

demo: $(VENV)/.installed  ## simulate a region, map it, compare with the truth
	$(RUN) deepcrop._kernel_cache
	$(VENV)/bin/deepcrop demo --out demo

check: $(VENV)/.installed  ## lint, format, types, order of imports, spelling
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell

test: $(VENV)/.installed  ## the tests of every day, files side by side on all cores
	$(PYTEST)

test-slow: $(VENV)/.installed  ## the slow tests
	$(PYTEST) -m slow

test-all: $(VENV)/.installed  ## both in one run: all tests but those of a large region
	$(PYTEST) -m "not large"

test-large: $(VENV)/.installed  ## a region of 4000 x 1000 pixels; takes many minutes
	$(RUN) pytest -m large

audit: $(VENV)/.installed  ## kill every command at every file operation; takes an hour
	$(PYTEST) -o addopts=--import-mode=importlib -k full tests/reliability/kills.py

fuzz: $(VENV)/.installed  ## 20 000 hostile inputs for all readers; takes about an hour
	$(RUN) tests.fuzz

docs: $(VENV)/.installed  ## the documentation, in site/
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo site
