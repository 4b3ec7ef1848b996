# Every target sets up .venv by itself; nothing but Python >= 3.10, make and git is needed.
PYTHON ?= python3
BIN := .venv/bin
ROOMS := recognizer feature_cache envs agents runs

.PHONY: quickstart test soak kills long oldest bench lint clean

quickstart: .venv/installed
	$(BIN)/focusgym quickstart

# A process per core with a thread each: networks in tests are small.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Thousands of mutated files through all readers; prints what happened, by kind of file.
soak: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/mutations.py --n $(or $(N),5000)

# Signals at random moments of the verbs, which then go on; prints what happened, by verb.
kills: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/random_kills.py --n $(or $(N),100)

# An hour of training, and a cache of 2,000 videos; prints how memory and open files grow.
long: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/long_run.py --minutes $(or $(MINUTES),60)

# The suite with the oldest libraries that setup.cfg allows, in an environment of its own. What
# newer libraries that these use say is deprecated in them is no failure.
oldest: .venv-oldest/installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n auto --dist loadfile \
		--no-loadscope-reorder -W ignore::DeprecationWarning

.venv-oldest/installed: setup.cfg tests/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint tests/oldest.txt --editable ".[dev]"
	touch $@

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Written last, so that an interrupted installation is done again.
.venv/installed: setup.cfg pyproject.toml .venv/files
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

# What is installed are links to the files there are: others want another installation.
.venv/files: FORCE
	@mkdir -p .venv
	@find $(ROOMS) -type f ! -name '*.pyc' | sort > $@.now
	@cmp -s $@.now $@ || cp $@.now $@
FORCE:

clean:
	rm -rf .venv .venv-oldest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
