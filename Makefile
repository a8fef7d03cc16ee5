# The two commands that matter: make reproduce, make test.
PROFILE ?= quick
SEED ?= 0
DATA ?=
RECORD ?=
RUN = $(RUNS)/14_reproduction/$(PROFILE)-seed$(SEED)
RUNS = $(or $(ALEXNET_RUNS),runs)
BIN = .venv/bin
PY = $(BIN)/python
# A kernel of this environment, whatever kernels the user has installed elsewhere.
export JUPYTER_PATH := $(CURDIR)/.venv/share/jupyter
export PYTHONWARNINGS ?= ignore::DeprecationWarning
BOOK = _build/html/book/intro.html

.PHONY: help setup reproduce test test-portable book lab bench lint format clean

help:  ## say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo; echo "Variables: PROFILE=quick|laptop|paper  DATA=source or folder:PATH  SEED=0  RECORD=1 (write to results/ too)"

setup: .venv/ready  ## make .venv and install everything into it

.venv/ready: requirements.txt pyproject.toml
	@python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	python3 -m venv .venv
	$(PY) -m pip install --quiet -r requirements.txt
	$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

reproduce: setup  ## train end to end, write the record, render the book
	@$(PY) tools/reproduce.py --profile "$(PROFILE)" --seed "$(SEED)" --data "$(DATA)" $(if $(RECORD),--record)
	@$(MAKE) --no-print-directory book
	@$(PY) tools/reproduce.py --profile "$(PROFILE)" --seed "$(SEED)" --report "$(BOOK)"

test: setup  ## run every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PY) -m pytest tests
	$(PY) tools/nbval.py

test-portable: setup  ## the tests that depend on numbers, with 1 and 2 threads and with the plainest vector units
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory portable-tests
	OMP_NUM_THREADS=2 $(MAKE) --no-print-directory portable-tests
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(MAKE) --no-print-directory portable-tests

.PHONY: portable-tests
portable-tests:
	$(PY) -m pytest tests --ignore tests/test_book.py --ignore tests/test_browser.py --ignore tests/test_make.py
	$(PY) tools/nbval.py

book: setup  ## render the book into _build/html
	@$(BIN)/jupyter-book build . --config _config.yml --toc book/_toc.yml --path-output . --warningiserror --keep-going --quiet

lab: setup  ## open the notebooks
	$(BIN)/jupyter lab notebooks

bench: setup  ## measure what was made for speed, as ratios in one run
	$(PY) tools/bench.py

lint: setup  ## check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup  ## mend style
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## remove what was built; runs/, data/ and .venv stay
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
