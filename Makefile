# The two commands that matter: make reproduce, make test. `make help` lists the rest.
PYTHON ?= python3
PROFILE ?= quick
SEED ?= 0
DATA ?=
DEVICES ?= 1
RECORD ?=
WORKERS ?= 2
MINUTES ?= 8
DEVICE ?= cuda
IMAGES ?=
BIN = .venv/bin
PY = $(BIN)/python
PIP = $(PY) -m pip --disable-pip-version-check
FIRST_PAGE = _build/html/book/intro.html
# The kernel of this environment, whatever kernels the user has installed elsewhere under the same name.
export JUPYTER_PATH := $(CURDIR)/.venv/share/jupyter

# What a user names reaches the commands as it is: make reads no $ in it, and the shell no quotation mark.
override DATA := $(value DATA)
override IMAGES := $(value IMAGES)
export DATA IMAGES

ifneq ($(filter-out 1,$(RECORD)),)
$(error RECORD is 1 or left out, not '$(RECORD)')
endif

ifneq ($(filter reproduce,$(MAKECMDGOALS)),)
PROFILES := $(shell sed -n 's/^register."\([a-z0-9_]*\)".*/\1/p' alexnet_lib/presets.py)
ifeq ($(filter $(PROFILE),$(PROFILES)),)
$(error unknown PROFILE '$(PROFILE)'. There is: $(PROFILES))
endif
endif

.PHONY: help setup reproduce test test-portable book lab experiments chapters stress bench gpu lint format clean
.PHONY: pdf homework release live lock
.NOTPARALLEL:  # the book and its PDF are built from one cache

help:  ## say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo
	@echo "Variables of reproduce: PROFILE=quick, laptop or paper; DATA=a source or folder:PATH; SEED=0;"
	@echo "DEVICES=1, or so many GPUs (without one: processes) that train together; RECORD=1"
	@echo "writes the record to results/ too. PYTHON=python3.12 makes .venv with another Python."

setup: .venv/ready  ## make .venv and install everything into it

.venv/ready: requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed and $(PYTHON) is " + sys.version.split()[0] + "; name another one with PYTHON=")'
	"$(PYTHON)" -m venv .venv
	$(PIP) install --require-hashes --requirement requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock:  ## resolve requirements.txt into requirements.lock: every package for every system, with the checksums of its files
	"$(PYTHON)" -m venv .venv
	$(PIP) install --quiet --target .venv/locking uv
	.venv/locking/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
	  --annotation-style line --output-file requirements.lock requirements.txt

reproduce: setup  ## train end to end, write the record, render the book
	@$(PY) tools/reproduce.py --profile "$(PROFILE)" --seed "$(SEED)" --data "$$DATA" --devices "$(DEVICES)" $(if $(RECORD),--record)
	@$(MAKE) --no-print-directory book
	@$(PY) tools/reproduce.py --profile "$(PROFILE)" --seed "$(SEED)" --data "$$DATA" --report "$(FIRST_PAGE)"

test: lint  ## check style and types, run every test, in WORKERS=2 processes of one thread each
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PY) -m pytest -n $(WORKERS)

# What these settings cannot change is left out: the book, and what only moves files.
PORTABLE = tests $(addprefix --ignore tests/test_,book.py browser.py interactives.py make.py sources.py)

test-portable: setup  ## run the tests that depend on numbers with 1 and 2 threads and with the plainest vector units
	@for settings in OMP_NUM_THREADS=1 OMP_NUM_THREADS=2 "ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41"; do \
	  echo "== $$settings"; env $$settings $(PY) -m pytest $(PORTABLE) || exit 1; done

book: setup  ## render the book into _build/html
	@$(BIN)/jupyter-book build . --config _config.yml --toc book/_toc.yml --path-output . --warningiserror --keep-going --quiet

lab: setup  ## open the notebooks
	$(PY) -m jupyter lab notebooks

experiments: setup  ## run every experiment without a record, breadth first: ONLY=, SEEDS=, HOURS=, JOBS=
	$(PY) -m alexnet_lib experiments $(addprefix --only ,$(ONLY)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(HOURS),--hours $(HOURS)) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(DATA),--data "$$DATA")

chapters: setup  ## execute again the chapters whose records have changed
	@$(PY) tools/chapters.py

live: setup  ## train the network that runs in the page book/live.md, write its weights and its record
	@$(PY) tools/live.py

stress: setup  ## the long form of the tests of faults, hours of it, and a table of what survived: RECORD=1, JOBS=
	$(PY) tools/stress.py $(if $(RECORD),--record) $(if $(JOBS),--jobs $(JOBS))

bench: setup  ## measure what was made for speed, as ratios in one run; RECORD=1 for results/
	$(PY) tools/bench.py $(if $(RECORD),--record)

gpu:  ## check and measure on a GPU, MINUTES=8, with the packages of PY=python3; DEVICE=cpu rehearses
	@PYTHONPATH="$(CURDIR):$(CURDIR)/tools" $(PY) -m gpu --minutes $(MINUTES) --device "$(DEVICE)" --data "$$DATA" --images "$$IMAGES"

lint: setup  ## check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: setup  ## mend style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:  ## remove what was built; runs/, data/ and .venv stay
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

pdf: setup  ## print the whole book into _build/book.pdf
	@$(BIN)/jupyter-book build . --config _config.yml --toc book/_toc.yml --path-output . --builder singlehtml --quiet
	@$(PY) tools/pdf.py _build/singlehtml/book/intro.html _build/book.pdf

HOMEWORK ?= _build/homework

homework: setup  ## make notebooks with gaps from the exercises, in HOMEWORK=_build/homework
	@$(PY) tools/homework.py make "$(HOMEWORK)"

# The date of the commit, so that a tag that is built again gives the same bytes; in a copy without .git that of now.
release: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
release: export PYTHONHASHSEED = 0
release: book pdf  ## the HTML and the PDF with their checksums, in _build/release
	@mkdir -p _build/release
	@tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$$SOURCE_DATE_EPOCH -C _build -cf - html | gzip -n > _build/release/book-html.tar.gz
	@cp _build/book.pdf _build/release/book.pdf
	@cd _build/release && sha256sum book-html.tar.gz book.pdf | tee SHA256SUMS
