# Everything a newcomer needs: `make demo`, `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV = .venv
RUN = $(VENV)/bin/python -m

.PHONY: demo test test-slow check docs clean

# The environment, made when absent or when what it is made from has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## simulate a region, map it, compare with the truth
	$(VENV)/bin/deepcrop demo --out demo

test: $(VENV)/.installed  ## all tests but the slow ones, files side by side on all cores
	$(RUN) pytest -n auto --dist loadfile

test-slow: $(VENV)/.installed  ## the slow tests: a region of 4000 x 1000 pixels
	$(RUN) pytest -m slow

check: $(VENV)/.installed  ## lint, format, types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

docs: $(VENV)/.installed  ## the documentation, in site/
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo site
