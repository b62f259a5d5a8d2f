# Everything needs python3 and make only. pip takes its index from the user's own pip configuration: point it to a
# CPU build of torch there, if the default one would bring more than the machine can use.

PYTHON ?= python3
EXTRAS ?= compress,constrained,images,serve,telemetry,report,pdf,bom,dev

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(shell grep '^torch==' constraints.txt)
TRESTLE := compliance-trestle==5.2.0
# the second does not come with the first, which does not start without it
OMS := model-signing==1.1.1 pyopenssl==26.4.0
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup models demo test test-tensorflow oscal-checker oms-checker check bench audit.pyz clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it (PYTHON=python3.12, EXTRAS=...)

# torch first and alone, so that nothing that asks for "some torch" can bring another build
$(READY): pyproject.toml constraints.txt
	@echo "setup: $(VENV) with $$($(PYTHON) --version), extras $(EXTRAS)"
	@$(PYTHON) -m venv $(VENV)
	@echo "setup: $(TORCH)"
	@$(PIP) '$(TORCH)'
	@echo "setup: sealpress[$(EXTRAS)]"
	@$(PIP) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

models: $(READY) ## fetch the models that tests and examples use, once
	@$(BIN)/python examples/models.py

demo: $(READY) models ## the main job on a real model: press, serve, refuse, verify, report
	@$(BIN)/python examples/demo.py

# one thread for each of the two: threads that wait for each other take the time of the other worker
test: $(READY) models ## run all tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-tensorflow: ## run the tests that need TensorFlow, in an environment of their own
	@$(MAKE) setup VENV=.venv-tensorflow EXTRAS=compress,images,report,serve,tensorflow,tensorflow-tests,dev
	@.venv-tensorflow/bin/pytest -raP tests/tensorflow tests/unit/toolkit/compress/test_compress_tensorflow_checks.py

oscal-checker: .venv-oscal/.ready ## make .venv-oscal, in which a test has compliance-trestle check the OSCAL of a report

oms-checker: .venv-oms/.ready ## make .venv-oms, in which a test has model-signing check a signature of ours

# environments of their own, since their pins are not ours
.venv-oscal/.ready: Makefile
	@echo "setup: .venv-oscal with $(TRESTLE)"
	@$(PYTHON) -m venv .venv-oscal
	@.venv-oscal/bin/python -m pip install --quiet --disable-pip-version-check '$(TRESTLE)'
	@touch $@

.venv-oms/.ready: Makefile
	@echo "setup: .venv-oms with $(OMS)"
	@$(PYTHON) -m venv .venv-oms
	@.venv-oms/bin/python -m pip install --quiet --disable-pip-version-check $(OMS)
	@touch $@

check: $(READY) ## lint, format, types, arrows between packages
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(READY) models ## measure side by side, write docs/benchmarks.md
	@$(BIN)/python -m benchmarks

audit.pyz: $(READY) ## write the verifier of evidence as one file
	@rm -f $@
	@$(BIN)/sealpress audit verifier --out $@

clean: ## remove what can be made again; the fetched models stay
	@rm -rf $(VENV) .venv-tensorflow .venv-oscal .venv-oms build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
