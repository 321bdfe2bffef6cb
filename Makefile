# `make bench` judges the example kernel; `make test` runs the tests. Each sets itself up.
PYTHON ?= python3
IMPL ?= cpu_tiled
BIN := .venv/bin
MAKE_ENVIRONMENT := $(PYTHON) -I .github/actions/environment.py .venv
RECORDED := baselines/nvidia-h200/candidates

.PHONY: bench test test-slow lint lint-workflows reference schema clean

bench: .venv/.installed
	$(BIN)/kernel-gate run --impl $(IMPL) --advisory --out artifacts

test: .venv/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-slow: .venv/.installed-test
	$(BIN)/python -m pytest -n auto -m slow

lint: .venv/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

lint-workflows: .venv/.installed-test
	$(BIN)/zizmor --offline --persona=auditor --strict-collection .
	cd .github/lint && npm ci --ignore-scripts --no-audit --no-fund
	node --import ./.github/lint/json.mjs .github/lint/check.mjs .github/workflows/*.yml .github/actions/*/action.yml

reference: schema   # what the pages show of commands and comments
	$(BIN)/python -m scripts.reference > docs/cli.md
	$(BIN)/kernel-gate comment --dry-run --cand $(RECORDED)/triton_flash.json > docs/examples/comment-pass.md
	$(BIN)/kernel-gate comment --dry-run --cand $(RECORDED)/triton_best.json > docs/examples/comment-fail.md

schema: .venv/.installed
	$(BIN)/python -m scripts.schema > docs/schema/run-2.json

clean:
	rm -rf .venv artifacts build *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/.installed: pyproject.toml .github/actions/environment.py
	$(MAKE_ENVIRONMENT) -e '.[all]'
	touch $@

.venv/.installed-%: .venv/.installed
	$(MAKE_ENVIRONMENT) -e '.[$*]'
	touch $@
