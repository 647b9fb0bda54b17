# Every command that the project has. `make help` lists them.
PYTHON ?= python3
VENV ?= $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
PY = $(VENV)/bin/python
READY = $(VENV)/.fastq
CHECK = $(PY) tools/check.py
.DEFAULT_GOAL := help
.PHONY: help venv dev build debug asan test lint types fault stress redis62 valkey bench demo sdist verify \
	verify-wheels clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY)/user ## an environment that runs fastq (.venv, or the active one)
$(READY)/user: pyproject.toml setup.py tools/prepare.sh $(wildcard ext/*)
	@sh tools/prepare.sh $(PYTHON) $(VENV) && mkdir -p $(READY) && touch $@ $(READY)/built

dev: $(READY)/dev ## the same, with all that tests, linters and benchmarks need
$(READY)/dev: pyproject.toml tools/prepare.sh
	@sh tools/prepare.sh $(PYTHON) $(VENV) test,dev,interop,bench && mkdir -p $(READY) && \
		touch $@ $(READY)/user $(READY)/built

build: dev ## compile ext/ in place, if it changed
	@[ -f $(READY)/built ] && [ -z "$$(find ext setup.py -newer $(READY)/built)" ] && \
		[ $$(ls fastq/_ext/*.so 2> /dev/null | wc -l) -ge $$(ls ext/*.pyx | wc -l) ] || \
		{ $(PY) setup.py -q build_ext --inplace && touch $(READY)/built $(READY)/user; }

test: build ## everything: linters, types, all tests, and tests/ext in the debug and sanitizer builds
	@$(CHECK) lint types test debug asan

debug: dev ## build with checks in build/debug, and run tests/ext there
	@$(CHECK) debug

asan: dev ## build with ASAN and UBSAN in build/asan, and run tests/ext there
	@$(CHECK) asan

lint: dev ## ruff, cython-lint, the C headers under -Wall -Wextra -Werror, generated pages
	@$(CHECK) lint

types: build ## mypy --strict on fastq, mypy and pyright on the examples of tests/typing
	@$(CHECK) types examples

fault: build ## kill, stop and cut things under load, and count what was lost
	@$(CHECK) fault

stress: build ## start and stop every part 1,000 times (FASTQ_CYCLES), and count what is left
	@$(CHECK) stress

redis62 valkey: build ## what needs a Redis, run with that server instead of the one that is installed
	@$(CHECK) $@

bench: build ## measure fastq and its peers side by side
	@$(PY) -m fastq bench

demo: venv ## index the standard library with two children, one of which dies on the way
	@$(PY) -m fastq demo

sdist: dev ## the source archive, in dist/
	@$(PY) -m build --sdist

verify: verify-wheels ## all that a release must pass and `make test` does not run

verify-wheels: dev ## sdist -> wheel -> empty environment -> one task, on every CPython found
	@$(PY) tools/verify_wheels.py

clean: ## remove what was built
	rm -rf build dist fastq.egg-info fastq/_ext/*.so $(READY)
