# `make train` trains the example agent, `make test` runs the checks of continuous integration, `make docs` builds the site. All set
# up .venv first.
CONFIG ?= configs/mbpo/inverted_pendulum_fast.yaml
BASE ?= configs/base/$(notdir $(patsubst %/,%,$(dir $(CONFIG)))).yaml
PYTHON ?= python3
WORKERS ?= 2

# The thread count changes no draw, but two threads on a busy machine can be ten times slower than one.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= $(OMP_NUM_THREADS)

.PHONY: train test docs

# A run that was interrupted goes on where its last checkpoint stands; a finished one only says where it is.
train: .venv/installed
	.venv/bin/mbrl fit --config $(BASE) --config $(CONFIG) --ckpt_path last
	.venv/bin/mbrl test --config $(BASE) --config $(CONFIG) --ckpt_path last

test: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -n $(WORKERS)

# Into build/site, without network; a warning is an error. The variable silences an advertisement of the theme's.
docs: .venv/installed
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expected Python 3.11 or newer, got $$($(PYTHON) --version); try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
