# `make demo` and `make test` first; `make bench` times everything. Each makes .venv when it is missing and installs the pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip --disable-pip-version-check --quiet

# Threads that wait sleep instead of spinning: a few percent slower alone, much faster beside another busy process.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test test-lowest bench paper check clean

demo: $(VENV)/.train
	$(BIN)/sepgconv demo

# Each process takes half of the tests in their order, and from the other's when it is done: what tests of a file share
# (a trained run, the package imported anew) is then made once, seldom twice.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal tests

# The core with the lowest versions that pyproject.toml allows, laid over those of .venv; but torch (pyproject.toml says why).
# That jaxtyping turns on its checks of annotations too late for pytest, so they are left out.
LOWEST := $(VENV)/lowest
CORE := tests/symmetry tests/conv/test_basis.py tests/functional/test_equations.py tests/nn/test_separable.py \
	tests/models/test_storage.py
test-lowest: $(LOWEST)
	export PYTHONPATH=$(CURDIR)/$(LOWEST) && \
	$(BIN)/python -c 'import jaxtyping, numpy, safetensors; print(*(f"{m.__name__} {m.__version__}" for m in (jaxtyping, numpy, safetensors)))' && \
	$(BIN)/python -m pytest -n 2 --dist worksteal -o addopts="--strict-markers --strict-config --import-mode=importlib" $(CORE)

$(LOWEST): pyproject.toml $(VENV)/.test
	rm -rf $@
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --target $@ \
		$$($(BIN)/python -c 'import tomllib; print(*(line.replace(">=", "==") for line in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"] if not line.startswith("torch")))')
	touch $@

# Threads as torch sets them: about 28 minutes on two cores; nothing else should run.
bench: $(VENV)/.bench
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks

# The tables and figures of the paper, from `TABLE=table1` (the default) to `TABLE=all`; `python -m experiments --help`.
TABLE ?= table1
paper: $(VENV)/.train
	$(BIN)/python -m experiments $(TABLE)

check: $(VENV)/.dev
	$(BIN)/pre-commit run --all-files

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("sepgconv needs Python 3.11 or newer; call make with PYTHON=<a newer one>")'
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras, remade when the pins or the package's own metadata change.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --editable '.[$*]'
	$(if $(filter test dev,$*),$(PIP) install --no-deps timm)
	touch $@

clean:
	rm -rf $(VENV) dist build runs demo
