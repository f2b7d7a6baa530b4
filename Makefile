# What a new user and a contributor run. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

BIN := .venv/bin
# The twins' root file system and packages, built once and used by every lab of this user.
LAB_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rigdeploy/lab

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup:
	@scripts/setup.sh runtime

.PHONY: setup-dev
setup-dev:
	@scripts/setup.sh dev

.PHONY: demo
demo: setup  ## two virtual rigs, from powered off to verified
	@scripts/demo.sh $(BIN)

.PHONY: test
test: test-unit test-lab test-newest test-browser test-local test-roles  ## everything, from the pure tests to roles on twins

.PHONY: test-unit
test-unit: setup-dev  ## the pure tests (about a minute)
	$(BIN)/pytest tests/unit

.PHONY: test-newest
test-newest: setup-dev  ## the pure tests again on Python 3.12 or later, where there is one
	@scripts/test-newest.sh

.PHONY: test-browser
test-browser: setup-dev  ## the report's page in a real browser without a window
	$(BIN)/pytest tests/browser

.PHONY: test-local
test-local: setup-dev  ## tests with real tools on this machine: Ansible, sshd, a simulated BMC
	$(BIN)/pytest tests/local tests/bmc

.PHONY: test-lab
test-lab: setup-dev  ## tests on virtual rigs (root)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/lab

.PHONY: test-slow
test-slow: setup-dev  ## Debian's own driver, really built by DKMS on a virtual rig (root)
	$(BIN)/pytest tests/slow/test_debian_driver.py

.PHONY: test-torch
test-torch: setup-dev  ## real PyTorch from the public index (several GB; not part of test)
	$(BIN)/pytest tests/slow/test_pytorch.py

.PHONY: test-roles
test-roles: setup-dev  ## molecule: each role on a virtual rig (root)
	@scripts/test-roles.sh $(BIN)

.PHONY: lint
lint: setup-dev  ## ruff, mypy, yamllint, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/ansible-lint --offline --strict

.PHONY: picture
picture: setup-dev  ## draw the README's picture of a report again
	$(BIN)/python -m scripts.picture

.PHONY: bare
bare:  ## run .ci/run in a bare Debian 12 root, where nothing is installed
	@scripts/bare.sh

.PHONY: clean
clean:  ## take the lab down; remove everything that make has made, caches included
	@if [ -x $(BIN)/rigdeploy ] && [ -d .rigdeploy/lab ]; then $(BIN)/rigdeploy lab down; fi
	rm -rf .venv .venv-newest .rigdeploy .ansible .mypy_cache .ruff_cache .pytest_cache dist build "$(LAB_CACHE)"
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
