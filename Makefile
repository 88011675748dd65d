# Each command sets up .venv by itself; PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
FIGURES := $(basename $(notdir $(filter-out experiments/_%,$(wildcard experiments/*.py))))

.PHONY: reproduce test lint bench clean

reproduce: .venv/ready  ## every figure at its laptop preset; interrupted, it goes on where it was
	@for name in $(FIGURES); do \
		echo "== $$name"; \
		$(BIN)/python experiments/$$name.py --preset laptop --out runs/$$name-laptop --resume || exit 1; \
	done
	@echo; echo "Figures:"; ls $(FIGURES:%=runs/%-laptop/figure.png)

test: lint  ## the whole test suite, on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

bench: .venv/ready  ## the speed tables; let nothing else run
	$(BIN)/python benchmarks/linear.py
	$(BIN)/python benchmarks/mnist.py
	$(BIN)/python benchmarks/mnist.py --memory
	$(BIN)/python benchmarks/xsum.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

clean:
	rm -rf .venv runs
