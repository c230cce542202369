# `make train` trains the example agent, `make test` runs what continuous integration runs. Both set up .venv first.
CONFIG ?= configs/mbpo/inverted_pendulum_fast.yaml
BASE ?= configs/base/$(notdir $(patsubst %/,%,$(dir $(CONFIG)))).yaml
PYTHON ?= python3
WORKERS ?= 2

# The thread count changes no draw, but two threads on a busy machine can be ten times slower than one.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= $(OMP_NUM_THREADS)

.PHONY: train test

# A run that was interrupted goes on where its last checkpoint stands; a finished one only says where it is.
train: .venv/installed
	.venv/bin/mbrl fit --config $(BASE) --config $(CONFIG) --ckpt_path last
	.venv/bin/mbrl test --config $(BASE) --config $(CONFIG) --ckpt_path last

test: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -n $(WORKERS)

.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expected Python 3.11 or newer, got $$($(PYTHON) --version); try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
