# Everything happens in a virtual environment of its own, .venv, made with PYTHON (3.10 or newer). Nothing else is needed.

PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help
help:
	@echo "make demo          a tour on real images (DB=mysql: with the MySQL or MariaDB server of this machine)"
	@echo "make demo-shell    a Python prompt with the tables of the tour"
	@echo "make notebook      run examples/files.ipynb, into demo-notebook/"
	@echo "make database      a database to try things with, such as the tutorial: until Ctrl-C"
	@echo "make clean-demo    remove what the tour, and the database, have left"
	@echo "make test          all tests, against real servers that they start themselves (TESTS=path: only these)"
	@echo "make release       tests with ten gigabytes, and all that \`make test\` leaves out, before a release"
	@echo "make torture       faults at SAMPLE steps (0: all) of each operation, then N random schedules (CASE=… SEED=…: one again; PLANTED=1, BASELINE=1)"
	@echo "make bench         time and memory beside other tools (ONLY=names ROUNDS=5 SCALE=small DIRECTORY=path"
	@echo "                   AGAINST=checkout: another state of the package as well)"
	@echo "make bench-growth  time and memory against the size of a file and the number of rows"
	@echo "make check         style, types, import layers, documentation"
	@echo "make docs          build the documentation into site/"

# ---- The virtual environment ----
# .venv/python-VERSION says that it is there, .venv/installed-EXTRA that the package is in it, with what that extra needs.

# One that is there will do, unless another Python is asked for.
ifeq ($(origin PYTHON),file)
PYTHON_VERSION := $(if $(wildcard .venv/bin/python),$(patsubst .venv/python-%,%,$(wildcard .venv/python-*)))
endif
ifeq ($(PYTHON_VERSION),)
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo missing)
endif

.venv/installed-%: pyproject.toml .venv/python-$(PYTHON_VERSION)
	@echo "Installing into .venv; the first time, this takes a minute or two …"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch '$@'

.venv/python-$(PYTHON_VERSION):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "$(PYTHON) is $(PYTHON_VERSION); Python 3.10 or newer is needed. Name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test ! -e .venv || ls .venv/python-* >/dev/null 2>&1 || { \
	    echo ".venv is not one that make has completed: rename it if it is yours, remove it if not"; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@touch '$@'

# ---- The tour ----

DB ?= postgresql

.PHONY: demo demo-shell notebook database clean-demo
demo: .venv/installed-demo
	@.venv/bin/python -m examples.demo tour --database '$(DB)'

demo-shell: .venv/installed-demo
	@.venv/bin/python -m examples.demo shell --database '$(DB)'

# Each time in a new project.
notebook: .venv/installed-notebook
	@.venv/bin/python -m examples.demo stop --project demo-notebook
	@rm -rf demo-notebook
	@.venv/bin/python -m examples.demo notebook --project demo-notebook

# PostgreSQL, also where DB says otherwise: a database to try things with, until Ctrl-C.
database: .venv/installed-demo
	@.venv/bin/python -m examples.demo database --project demo-database

clean-demo:
	@test ! -e .venv/installed-demo || for database in postgresql mysql; do \
	    .venv/bin/python -m examples.demo stop --database $$database || exit 1; done
	@test ! -e .venv/installed-demo || .venv/bin/python -m examples.demo stop --project demo-database
	@test ! -e .venv/installed-notebook || .venv/bin/python -m examples.demo stop --project demo-notebook
	rm -rf demo-project demo-project-mysql demo-database demo-notebook

# ---- Tests, checks, documentation ----

.PHONY: test release check docs
test: .venv/installed-dev
	@.venv/bin/python -m tests.servers.install
	.venv/bin/python -m pytest --numprocesses auto --dist worksteal $(TESTS)

# Tens of gigabytes, and what is left out of every run: before a release.
release: .venv/installed-dev
	@.venv/bin/python -m tests.servers.install
	.venv/bin/python -m pytest -m release

# Faults on purpose; PLANTED=1 finds planted bugs, BASELINE=1 those of DataJoint's own attribute type. SAMPLE=0 plays every
# fault at every step of all operations, which takes many hours.
N ?= 2000
SAMPLE ?= 60
SEED ?= 1
TORTURE_OPTIONS = --number '$(N)' --sample '$(SAMPLE)' --seed '$(SEED)' $(if $(CASE),--case '$(CASE)') $(if $(PLANTED),--planted) \
    $(if $(BASELINE),--baseline) $(if $(JSON),--json '$(JSON)') $(TORTURE)

.PHONY: torture
torture: .venv/installed-dev
	@.venv/bin/python -m tests.servers.install
	.venv/bin/python -m tests.torture $(TORTURE_OPTIONS)

# Tables on the terminal; figures and plots in bench-results/. DIRECTORY is on the disk to measure.
ROUNDS ?= 5
SCALE ?= full
BENCH_OPTIONS = --rounds '$(ROUNDS)' --scale '$(SCALE)' $(if $(ONLY),--only '$(ONLY)') \
    $(if $(DIRECTORY),--directory '$(DIRECTORY)') $(if $(AGAINST),--against '$(AGAINST)')

.PHONY: bench bench-growth
bench: .venv/installed-dev
	@.venv/bin/python -m tests.servers.install
	.venv/bin/python -m benchmarks $(BENCH_OPTIONS)

bench-growth: .venv/installed-dev
	@.venv/bin/python -m tests.servers.install
	.venv/bin/python -m benchmarks growth $(BENCH_OPTIONS)

check: .venv/installed-dev docs
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: .venv/installed-dev
	.venv/bin/python docs/site/architecture.py
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
