# What a contributor runs, and what .ci/run runs: `make` lists it.
PYTHON ?= python
SITE ?= build/site
BENCH ?= build/performance
FUZZ_SECONDS ?= 45

.DEFAULT_GOAL := help
.PHONY: help setup test quick coverage stress lowest newest django fuzz lint types format docs bench guard figures release demo ci

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## install this checkout, editable, with everything that the other targets need
	$(PYTHON) -m pip install -e '.[test,dev,docs,bench]'

test: ## run the tests of README.md, stress tests in their short form
	$(PYTHON) -m pytest

quick: ## run the tests that take no seconds
	$(PYTHON) -m pytest -q -m "not slow"

coverage: ## run all tests with all examples of the properties, and measure the coverage
	# Tracing takes half of the machine: deadlines of the tests are twice as long.
	OWLSOCKET_TIME_SCALE=2 HYPOTHESIS_PROFILE=whole $(PYTHON) -m pytest -q -n 3 -m "not timing" --timeout 300 --cov --cov-report=term:skip-covered
	$(PYTHON) -m pytest -q -n 0 -m timing # untraced: tracing would be measured with the code

stress: ## run the stress tests whole, which takes an hour on an idle machine
	$(PYTHON) -m pytest -m stress

lowest: ## run the tests of the transport and the server with the lowest versions of their libraries
	bash .ci/lowest

newest: ## run the tests that are closest to the interpreter with the newest Python, which Debian has
	bash .ci/newest

django: ## run the tests of Django with the other versions that are supported
	bash tests/contrib/django/versions.sh

fuzz: ## feed broken input to each reader of foreign bytes, for FUZZ_SECONDS
	OWLSOCKET_FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTHON) -m pytest -q -n 2 -m stress tests/fuzz/test_row_31_readers.py

lint: ## look for mistakes, for what is not formatted, and for misspelled words
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m codespell_lib

types: ## check the types, by mypy and pyright, and what both infer in programs that use the library
	$(PYTHON) -m mypy
	$(PYTHON) -m basedpyright
	$(PYTHON) -m pytest -q -n 0 -m target tests/contracts/test_checkers.py

format: ## format the code, and sort the imports
	$(PYTHON) -m ruff check --fix --exit-zero .
	$(PYTHON) -m ruff format .

docs: ## build the documentation, warnings being errors, and follow its links
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet --site-dir $(SITE)
	$(PYTHON) -m pytest -q -m target tests/docs/test_site.py

bench: ## run the benchmarks in their short form
	$(PYTHON) -m benchmarks --short --out $(BENCH)

guard: ## hold the instructions of the hot paths against their budgets, with callgrind where valgrind is installed
	$(PYTHON) -m benchmarks.guard

figures: ## write docs/guarantees.md, docs/soak.png and the figures in README.md from those of the last runs
	PYTHONPATH=tests $(PYTHON) -m support.guarantees
	PYTHONPATH=tests $(PYTHON) -m support.plot_soak

release: ## build the archives, and check them
	.ci/release

demo: ## show every feature, against a server in a second process
	$(PYTHON) -m owlsocket_sync demo

ci: ## run everything in a fresh virtual environment
	.ci/run
