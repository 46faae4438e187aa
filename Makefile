# Everything a newcomer needs: `make demo`, `make demo-view`, `make test`.
#
# On Linux the package index has PyTorch with CUDA, gigabytes of it. To install PyTorch's own build
# for processors without a GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV = .venv
RUN = $(VENV)/bin/python -m
# Modules compiled once serve both workers, the commands that tests start, and the next run.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(RUN) pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-view check kernels test test-slow test-all test-large audit fuzz docs clean

# The environment, made when absent or when what it is made from has changed. Python's own pip may
# be too old for dependency groups; constraints.txt pins the one that is used.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(if $(TORCH_INDEX),$(RUN) pip install --quiet --constraint constraints.txt --no-deps --index-url $(TORCH_INDEX) torch)
	$(RUN) pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

demo: $(VENV)/.installed  ## simulate a region, map it by both methods, compare with the truth
	$(RUN) deepcrop._kernel_cache
	$(VENV)/bin/deepcrop demo --out demo

demo-view: $(VENV)/.installed  ## the demo's maps in the browser
	test -d demo/maps || $(MAKE) demo
	$(VENV)/bin/deepcrop view demo/maps --cube demo/region.zarr

check: $(VENV)/.installed  ## lint, format, types, order of imports, spelling
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell

kernels: $(VENV)/.installed  ## compile the kernels once, before the workers of a test run need them
	$(RUN) tests.helpers.kernels

test: $(VENV)/.installed  ## the tests of every day, files side by side on all cores
	$(PYTEST)

test-slow: $(VENV)/.installed  ## the slow tests
	$(PYTEST) -m slow

test-all: $(VENV)/.installed  ## both in one run: all tests but those of a large region
	$(PYTEST) -m "not large"

test-large: $(VENV)/.installed  ## a region of 4000 x 1000 pixels; takes many minutes
	$(RUN) pytest -m large

audit: $(VENV)/.installed  ## kill every command at every file operation; takes two hours
	$(RUN) pytest -n auto --dist load -o addopts=--import-mode=importlib -k full tests/reliability/kills.py

fuzz: $(VENV)/.installed  ## 20 000 hostile inputs for all readers; takes a quarter of an hour
	$(RUN) tests.fuzz

docs: $(VENV)/.installed  ## the documentation, in site/
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo site
