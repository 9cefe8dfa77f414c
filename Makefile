# The index of what can be done here. `make demo` and `make test` set everything up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-all check format bench clean help

help:
	@echo "make demo    train a small Axial-DeepLab on procedural scenes and look at the result (CPU, 3 to 4 minutes)"
	@echo "make test    the tests (CPU, no network, ten minutes)"
	@echo "make test-all   what these leave out: the kernels compiled for every generation of GPUs"
	@echo "make check   formatting, lint, types"
	@echo "make format  apply formatting and safe lint fixes"
	@echo "make bench PAIRS=FOLDER   time panoptic scoring against PNG decoding (FOLDER from make_pq_speed.py)"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not exhaustive"

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m exhaustive

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python benchmarks/panoptic_quality.py $(PAIRS)

clean:
	rm -rf $(VENV) runs dist build .pytest_cache .mypy_cache .ruff_cache
