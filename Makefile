# make demo: from nothing to the table. make test: all checks. The other targets are a developer's.
SHELL := /usr/bin/env bash
VENV := .venv
UV ?= uv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONNOUSERSITE := 1

.PHONY: demo test search ablation dag env lint format lock clean clean-results
.DELETE_ON_ERROR:

demo: env
	@snakemake
	@$(MAKE) --no-print-directory --silent results/report.html
	@echo && cat results/summary.md && echo && echo "HTML report: $(CURDIR)/results/report.html"

test: env
	@python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# A page in the browser, on this machine only, for the results that are here.
search: env
	@python scripts/search.py --serve

# One setting changed at a time: 8 SFT stages and 15 DDRO trainings of the demo's size.
ablation: env
	@snakemake ablation --configfile config/ablation.yaml

# Made anew when what it shows has changed.
SHOWN = $(shell find results -name '*.svg' -o -name '*.html' ! -path results/report.html -o -name summary.md)
results/report.html: $(SHOWN) $(wildcard workflow/report/*.rst)
	@snakemake --report $@

# The rules of the paper's four experiments, also as docs/architecture.md shows them.
dag: env
	@snakemake results/dag.svg --configfile config/paper.yaml
	@cp results/dag.svg workflow/report/dag.svg

# Made once, and again when the lock has changed.
env:
	@cmp -s envs/lock.txt $(VENV)/lock.txt || envs/venv.sh $(VENV)

lint: env
	@ruff check . && ruff format --check . && snakefmt --check workflow && snakemake --lint

format: env
	@ruff check --fix . && ruff format . && snakefmt workflow

# With the newest versions: make lock UPGRADE=--upgrade
lock:
	@python3 envs/lock.py --uv $(UV) $(UPGRADE)

clean:
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

# All results, and what Snakemake knows of them.
clean-results:
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf .snakemake
