# One file to run everything. The first target that needs it creates .venv and installs lossim with its tools;
# that happens again only when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
RELEASES := tests/peers/requirements-releases.txt
VALIDATION := .venv-validation
DOCS := .venv-docs
RELEASE := build/release
WORKERS ?= 2

# Scripts and documents that are checked as far as they exist.
TYPED := lossim $(wildcard figures/*.py) $(wildcard benchmarks/*.py)
DOCUMENTS := $(wildcard README.md) $(wildcard docs/*.md)
# Each folder of the library has its contracts beside the code; one without is an error.
CONTRACTS := $(patsubst %/__init__.py,%/.importlinter,$(wildcard lossim/__init__.py lossim/*/__init__.py))

export MPLBACKEND ?= Agg
# As many processes as cores run at a time: threads of each would wait for one another.
export OMP_NUM_THREADS := 1
# Of what is installed little is imported, and that is compiled then.
INSTALL := -m pip install --quiet --no-compile
# Compiled once: pytest rewrites the asserts of every test file, which takes longer than to import them.
unexport PYTHONDONTWRITEBYTECODE
# A worker starts with half of the tests, in order, so that what the tests of a file share is computed once.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# What targets that run at the same time print stays apart, where make can do that.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.DEFAULT_GOAL := help
.PHONY: help install browser test check lint types layers doctests figures figures-check peers-install peers \
  peers-train validate validate-short kernel validate-forecast bench docs release-check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv and install lossim with its development tools

$(VENV): $(STAMP)

# CITATION.cff has the version, which an installed lossim is asked for.
$(STAMP): pyproject.toml CITATION.cff
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lossim needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
	  echo "Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --editable '.[dev]'
	@touch $@

# Pages are looked at in a real browser. Where there is none and apt-get may not bring it, those tests say so.
browser:  ## install Chromium and its driver for the tests of pages, where they are missing and apt-get may do that
	@command -v chromedriver >/dev/null && command -v chromium >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    chromium chromium-driver fonts-dejavu-core >/dev/null; } \
	  || echo "Chromium is missing and could not be installed here; install chromium and chromium-driver." >&2

test: $(STAMP)  ## run the tests
	$(PYTEST)

check: $(STAMP)  ## lint, types, layering, documentation, figure numbers, some at a time
	@$(MAKE) --no-print-directory -j 3 $(SYNC) lint layers types figures-check doctests

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy $(TYPED)

layers: $(STAMP)  ## imports point downwards and stop at the faces of folders
	$(BIN)/lint-imports --no-logo $(CONTRACTS)

doctests: $(STAMP)  ## every example in the docstrings, README and docs
	$(PYTEST) --doctest-modules --doctest-glob='*.md' lossim $(DOCUMENTS)

figures: $(STAMP)  ## compute and draw all figures
	$(BIN)/python figures/regenerate.py

figures-check: $(STAMP)  ## figure numbers against the stored ones, of two figures that take minutes a part of them
	$(BIN)/python figures/regenerate.py --check

# The trainers want an environment of their own: 2.5 GB, about two minutes. verl pins old versions of what it needs,
# so it comes without its dependencies, after those it really imports. Older releases are only read, for their defaults.
$(PEERS_STAMP): pyproject.toml tests/peers/requirements.txt tests/peers/requirements-bare.txt $(RELEASES)
	$(PYTHON) -m venv $(PEERS)
	@{ $(PEERS)/bin/python $(INSTALL) --requirement tests/peers/requirements.txt \
	  && $(PEERS)/bin/python $(INSTALL) --no-deps --requirement tests/peers/requirements-bare.txt \
	  && $(PEERS)/bin/python $(INSTALL) --editable '.[dev]' \
	  && xargs -P 4 -I '{}' $(PEERS)/bin/python $(INSTALL) --no-deps --upgrade \
	    --only-binary :all: --target '$(PEERS)/releases/{}' '{}' <$(RELEASES); } || { \
	  echo "The trainers could not be installed, so nothing was compared with them." >&2; exit 1; }
	@touch $@

peers-install: $(PEERS_STAMP)  ## create .venv-peers, 2.5 GB, for the target peers

peers: $(PEERS_STAMP)  ## the real verl, TRL and rlax against lossim; installs 2.5 GB into .venv-peers
	$(PEERS)/bin/python -m pytest -n $(WORKERS) --dist worksteal tests/peers

peers-train: $(PEERS_STAMP)  ## a whole training run of verl on a CPU, with lossim beside it and without; 2 to 4 minutes
	$(PEERS)/bin/python -m pytest tests/peers/whole_verl.py

# Networks are trained and measured in an environment of their own, with the trainers but without their old releases.
$(VALIDATION)/.installed: pyproject.toml tests/peers/requirements.txt tests/peers/requirements-bare.txt \
  validation/requirements.txt validation/requirements-bare.txt
	$(PYTHON) -m venv $(VALIDATION)
	@{ $(VALIDATION)/bin/python $(INSTALL) --requirement tests/peers/requirements.txt \
	    --requirement validation/requirements.txt \
	  && $(VALIDATION)/bin/python $(INSTALL) --no-deps --requirement tests/peers/requirements-bare.txt \
	    --requirement validation/requirements-bare.txt \
	  && $(VALIDATION)/bin/python $(INSTALL) --editable '.[dev]'; } || { \
	  echo "The trainers could not be installed, so nothing was trained." >&2; exit 1; }
	@touch $@

validate: $(VALIDATION)/.installed  ## 32 training runs by TRL and verl, and lossim confronted with them; 25 minutes of one core
	$(VALIDATION)/bin/python -m validation.run --to build/validation
	$(VALIDATION)/bin/python -m validation.start_kernels --to build/validation
	$(VALIDATION)/bin/python -m validation.report --logs build/validation

validate-short: $(VALIDATION)/.installed  ## two of these runs, compared with the stored ones; minutes
	$(VALIDATION)/bin/python -m validation.run --short

kernel: $(VALIDATION)/.installed  ## the kernel of a pretrained language model, measured again; twenty minutes
	$(VALIDATION)/bin/python validation/kernel/measure.py
	$(VALIDATION)/bin/python validation/kernel/derive.py --write
	$(VALIDATION)/bin/python validation/kernel/step.py --write

validate-forecast: $(STAMP)  ## forecasts of 120 hidden runs against simple rules; ten minutes
	$(BIN)/python benchmarks/forecasts.py --runs 40 --workers $(WORKERS)

bench: $(STAMP)  ## benchmarks
	$(BIN)/python -m pytest benchmarks/ --benchmark-only

# What makes the site has many dependencies of its own, which the tests should not see.
$(DOCS)/.installed: pyproject.toml CITATION.cff
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(INSTALL) --editable '.[docs]'
	@touch $@

docs: $(DOCS)/.installed  ## the site, into build/docs/html: notebooks run, a warning or a broken link is an error
	$(DOCS)/bin/python docs/site/build.py

# The wheel is made of the sdist, as an index would have it, and installed where nothing else is.
release-check:  ## build sdist and wheel, install the wheel in a fresh environment and use it there
	rm -rf $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/python $(INSTALL) build twine
	$(RELEASE)/tools/bin/python -m build --outdir $(RELEASE)/dist .
	$(RELEASE)/tools/bin/twine check --strict $(RELEASE)/dist/*
	$(PYTHON) -m venv $(RELEASE)/fresh
	$(RELEASE)/fresh/bin/python $(INSTALL) $(RELEASE)/dist/*.whl
	$(RELEASE)/fresh/bin/python -I tests/project/installed.py

clean:  ## remove the environments, caches and build products
	rm -rf $(VENV) $(PEERS) $(VALIDATION) $(DOCS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find lossim tests figures benchmarks validation -type d -name __pycache__ -exec rm -rf {} +
