# Everything a stranger needs. A bare machine with git, make and Python >= 3.11 (with pip and venv) is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Rewritten whenever the lock or the project's metadata change; as long as it is newer, nothing is installed.
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help up test lint check bench simulate live-kills mutants lock env

help:
	@echo "make up      start everything: paper exchange, recorder, Prefect and its UI, live runner (Ctrl-C stops all)"
	@echo "make test    format, lint, types, import contracts, the whole test suite; what CI runs"
	@echo "make lint    all of make test but the tests"
	@echo "make check   make lint and the fast tests"
	@echo "make bench   the benchmarks"
	@echo "make simulate SEEDS=10000 [FROM=0]   that many random stories of faults and crashes against the execution engine"
	@echo "make live-kills KILLS=100   kill -9 of the live process that often, aimed at every phase of entries and exits"
	@echo "make mutants    take every guard, table row and safety of execution out, one at a time; each time a test must fail (minutes)"
	@echo "make lock    write requirements.lock anew from pyproject.toml"

up: $(STAMP)
	@exec $(BIN)/tandem up

# Three workers on two cores: the suite waits for other processes half of its time. A file stays on one worker; those
# with slow tests begin first (tests/conftest.py), so that nobody waits for the last one.
test: lint
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

check: lint
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	@$(BIN)/python tests/tools/lock_age.py

bench: $(STAMP)
	$(BIN)/python -m bench

# Everything a story draws comes from its seed; SEEDS=1 FROM=<seed> tells one story in full.
SEEDS ?= 1000
FROM ?= 0
simulate: $(STAMP)
	@PYTHONPATH=.:tests/paper PYTHONHASHSEED=0 $(BIN)/python tests/simulation/simulate.py --seeds $(SEEDS) --from $(FROM)

KILLS ?= 100
live-kills: $(STAMP)
	@KILLS=$(KILLS) $(BIN)/pytest -q -s tests/bot/test_bot_kill.py

# ONLY="closing legs" judges those whose name holds the text.
mutants: $(STAMP)
	@PYTHONPATH=. $(BIN)/python tests/mutation/mutate.py $(if $(ONLY),--only "$(ONLY)")

env: $(STAMP)

# --no-compile: pip compiles all of it, one file at a time, and half of that is never imported (ccxt alone knows 100
# exchanges). What starts with `make up` is compiled here on all cores; the rest compiles when it is imported.
# The statistics' kernel is compiled to machine code beside it: some ten seconds that the first recalibration would take.
NOT_COMPILED := /(arch|ccxt|coincurve|hypothesis|llvmlite|mypy|mypyc|numba|numpy|pandas|scipy|statsmodels|tests?)/
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo missing); Tandem needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	-@$(BIN)/python -m domain.statistics.warm & $(BIN)/python -m compileall -qq -j 0 -x '$(NOT_COMPILED)' $(VENV)/lib; wait
	@touch $(STAMP)

# uv resolves for every platform and Python at once and writes hashes; it lives in a throwaway environment.
lock:
	$(PYTHON) -m venv var/lock-venv
	var/lock-venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	var/lock-venv/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-strip-extras --no-header --no-annotate --output-file requirements.lock
	rm -rf var/lock-venv
