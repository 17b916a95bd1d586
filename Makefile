PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
METADATA := pyproject.toml setup.py

.PHONY: demo serve test coverage test-oldest fuzz faults scale lint docs bench notebooks clean

demo: $(VENV)/.core
	$(BIN)/geoimages demo --output demo

serve: $(VENV)/.web
	test -f demo/rocks.h5 || $(BIN)/geoimages demo --output demo
	$(BIN)/geoimages serve demo/rocks.h5

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

# The same, with the lines that no test runs: takes 1.6 times as long.
coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --cov --cov-report=term

# The oldest versions that pyproject.toml allows, in an environment of their own.
test-oldest: .venv-oldest/.ready
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n auto -q -o filterwarnings=default

# Damaged and mutated files of every kind; an hour and a half on two cores.
fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/hostile/damage.py --files 2000
	OMP_NUM_THREADS=1 $(BIN)/python tests/hostile/fuzz.py --seconds 600

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Kill, starve and forbid whatever writes, at every write: minutes.
faults: $(VENV)/.dev
	$(BIN)/python tests/faults

# Tiles over two worker processes, one of them killed: the answers of one? Minutes.
scale: $(VENV)/.dev
	$(BIN)/python tests/scale

docs: $(VENV)/.docs
	rm -rf docs/_build docs/api docs/gallery
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: $(VENV)/.bench
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

notebooks: $(VENV)/.notebooks
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/execute.py
ifdef GEOIMAGES_DATA
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/execute.py train_image_classification --data $(GEOIMAGES_DATA)
endif

clean:
	rm -rf $(VENV) .venv-oldest build dist demo notebooks/work docs/_build docs/api docs/gallery *.egg-info .pytest_cache .ruff_cache .coverage

# One environment; a stamp says what was installed, and new metadata outdates it.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(METADATA) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.web: $(METADATA) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[web]"
	touch $@ $(VENV)/.core

$(VENV)/.bench: $(METADATA) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	touch $@ $(VENV)/.core

$(VENV)/.docs: $(METADATA) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	touch $@ $(VENV)/.core

$(VENV)/.notebooks: $(METADATA) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[notebooks]"
	touch $@ $(VENV)/.core

.venv-oldest/.ready: $(METADATA) .ci/oldest.py
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) .ci/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c .venv-oldest/constraints.txt
	touch $@

$(VENV)/.dev: $(METADATA) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@ $(VENV)/.core
