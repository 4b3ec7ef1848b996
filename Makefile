# Every target sets up .venv by itself; nothing but Python >= 3.10, make and git is needed.
PYTHON ?= python3
BIN := .venv/bin
ROOMS := recognizer feature_cache envs agents runs

.PHONY: quickstart test bench lint clean

quickstart: .venv/installed
	$(BIN)/focusgym quickstart

# A process per core with a thread each: networks in tests are small.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

# mypy does not follow an editable install whose folders are mapped: it gets a tree of links.
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf .venv/typing && mkdir -p .venv/typing/focusgym
	for room in $(ROOMS); do ln -s $(CURDIR)/$$room .venv/typing/focusgym/$$room; done
	MYPYPATH=.venv/typing $(BIN)/mypy

# Written last, so that an interrupted installation is done again.
.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
