PYTHON ?= python3
BIN := .venv/bin
# What mining needs, and what tests and all else need.
BASE := .venv/.base
DEV := .venv/.dev
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: mine test browser check docs bench chaos smoke clean

mine: $(BASE)  ## set up and mine the bundled sample
	$(BIN)/dupmine mine examples/questions.csv --config configs/quickstart.yaml --out out/sample --overwrite
	$(BIN)/dupmine evaluate-run out/sample examples/gold.csv

test: $(DEV)  ## set up and run all tests
	$(BIN)/python -m pytest

browser:  ## install Debian's Chromium and axe-core, with which the tests of the report and the review page run
	test -x /usr/bin/chromium || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; }
	npm install --silent --no-fund --no-audit --prefix .venv/axe axe-core@4.14.1

check: $(DEV)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DEV)  ## build the documentation site into out/site; any warning fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(DEV)  ## quality and seconds on labelled questions: make bench DATA=folder/with/qqp
	$(BIN)/python benchmarks/quora.py $(DATA)

chaos: $(DEV)  ## kill writers 100 times, change commits, trees and models 1,000 times each, refuse every call to the disk
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.helpers.chaos --kills 100 --out benchmarks/results/chaos.json
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.helpers.mutations --each 1000 --out benchmarks/results/mutations.json
	DUPMINE_EVERY_FAULT=1 $(BIN)/python -m pytest tests/store/test_faults.py
	$(BIN)/python -m pytest tests/results/test_killed_renames.py tests/results/test_foreign_files.py tests/store/test_foreign_files.py

smoke: $(DEV)  ## build the wheel, look inside, install it in a clean environment and mine with it
	PYTHON=$(BIN)/python bash tests/smoke.sh

clean:
	rm -rf .venv build dist out *.egg-info

$(BASE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) .
	touch $@

$(DEV): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) '.[dev]'
	touch $(BASE) $@
