# The map of daily work. `make install` is what the other targets share.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(shell find native -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi') setup.py
FUZZ_SECONDS ?= 60
# Two processes, each with whole files of tests; TEST_JOBS= for one.
TEST_JOBS ?= --numprocesses 2 --dist loadfile

.PHONY: help install build run test lint bench asan fuzz profile docs clean

help:
	@echo "install  build everything into $(VENV)"
	@echo "run      start a gateway on SQLite (the quick-start example at first) and its demo backend"
	@echo "test     run the whole test suite"
	@echo "lint     ruff, mypy, cython-lint"
	@echo "bench    measure against the installed peers (BENCH_ARGS=...)"
	@echo "asan     build with AddressSanitizer and UBSan; unit tests, fuzz corpus, integration smoke"
	@echo "fuzz     fuzz the parsers for FUZZ_SECONDS ($(FUZZ_SECONDS))"
	@echo "profile  where the cycles go (PROFILE_ARGS=...)"
	@echo "docs     write the reference of settings into docs/settings.md, the presets into tuning/"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Dependencies at the locked versions, then the package itself with its native modules.
$(STAMP): $(BIN)/python pyproject.toml requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

$(VENV)/.built: $(STAMP) $(SOURCES)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

build: $(VENV)/.built
install: build

run: build
	$(BIN)/gateway quickstart

test: build
	$(BIN)/python -m pytest $(TEST_JOBS) $(TEST_ARGS)

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check gateway tests bench
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint native

bench: build
	$(BIN)/gateway bench run $(BENCH_ARGS)

asan: $(STAMP)
	$(BIN)/python tests/sanitized.py

fuzz: build
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

profile: build
	$(BIN)/python -m bench.profile $(PROFILE_ARGS)

docs: build
	$(BIN)/gateway config show --markdown > docs/settings.md
	$(BIN)/python -m gateway.tuning.presets tuning

clean:
	rm -rf build $(VENV) *.egg-info
	find native -name '*.so' -delete
