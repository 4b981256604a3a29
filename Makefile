# s2s: setting up, testing, trying out. `make` alone lists the targets.
#
#   PYTHON=python3.12   the Python (3.11 or newer) that .venv is made from; the default is the first one found
#   TORCH_INDEX=URL     a package index to look for torch in besides pip's own, for instance PyTorch's CPU wheels
#   PIP_FLAGS=...       flags for pip install in place of that one
#   ARGS=...            more arguments for pytest: make test ARGS='tests/recipes -x'; make gpu ARGS='--only training'
#   DEVICE=cpu          what make gpu tries out in place of a GPU: a rehearsal

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)
TORCH_INDEX ?=
PIP_FLAGS ?= $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)')
ARGS ?=
DEVICE ?= cuda

VENV := .venv/bin
READY := .venv/.installed
RECIPES := $(patsubst %/Makefile,%,$(wildcard recipes/*/Makefile))

.PHONY: help setup demo test test-slow test-interop test-browser soak gpu lint format bench smoke
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## make .venv and install s2s, the pinned packages and the development tools in it

demo: $(READY) ## train a small translation model on generated sentences and show what it says (5 minutes)
	@$(MAKE) --no-print-directory -C recipes/translation demo

test: $(READY) ## run the tests, as many at a time as there are processors
	$(VENV)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(READY) ## run the tests that take minutes
	$(VENV)/python -m pytest -m slow $(ARGS)

test-interop: $(READY) ## install transformers (130 MB) and onnxruntime (110 MB) and hold imported and exported models against them
	$(VENV)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[interop,onnx,tokenizers]'
	$(VENV)/python -m pytest tests/foreign tests/exporting tests/manual/test_foreign_commands.py tests/text/test_library.py \
		tests/test_hostile_documents.py $(ARGS)

test-browser: $(READY) ## install Qt's Chromium (526 MB unpacked) and open the pages of HTML in it
	$(VENV)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt PyQt6-WebEngine
	$(VENV)/python -m pytest tests/test_pages_in_browser.py $(ARGS)

soak: $(READY) ## kill runs and workers at random moments, attack servers: nothing may be lost, hang or be held
	$(VENV)/python tests/soak/kill_saving.py
	$(VENV)/python tests/soak/kill_training.py
	$(VENV)/python tests/soak/kill_sweep.py
	$(VENV)/python tests/soak/kill_preprocess.py
	$(VENV)/python tests/soak/kill_workers.py
	$(VENV)/python tests/soak/stop_server.py
	$(VENV)/python tests/soak/serve.py

# Nothing is installed: a machine with a GPU may have a Python with torch, and no network.
gpu: ## try a GPU out: tests, equal outputs, speed of training and decoding, memory (8 minutes); DEVICE=cpu rehearses it
	@PYTHONPATH=. $(firstword $(wildcard $(VENV)/python) python3) tests/gpu/run.py --device $(DEVICE) $(ARGS)

lint: $(READY) ## check style and types
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

format: $(READY) ## format the code and sort the imports
	$(VENV)/ruff check --select I --fix .
	$(VENV)/ruff format .

bench: $(READY) ## run the benchmarks
	$(VENV)/python tests/benchmarks/speed.py $(ARGS)

smoke: $(READY) ## run every recipe from end to end on a few sentences
	@set -e; for recipe in $(RECIPES); do \
		echo "smoke: $$recipe"; $(MAKE) --no-print-directory -C $$recipe smoke; done

# A usable .venv is taken as it is; one whose Python has gone, or is too old, is made anew.
RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

$(READY): pyproject.toml constraints.txt
	@set -e; \
	if [ -x $(VENV)/python ] && $(VENV)/python .ci/check_venv.py; then touch $@; exit; fi; \
	if ! $(VENV)/python $(RECENT); then \
		python='$(PYTHON)'; \
		if [ -z "$$python" ] || ! $$python $(RECENT); then \
			echo "error: s2s needs Python 3.11 or newer, which $${python:-python3} is not;" \
				"install one, or give make PYTHON=/path/to/python" >&2; exit 1; fi; \
		echo "making .venv with $$python"; $$python -m venv --clear .venv; fi; \
	echo "installing s2s, the pinned packages and the development tools: a few minutes at the first time"; \
	set -x; \
	$(VENV)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[dev,metrics,plot,tensorboard,sweep,words]'; \
	touch $@
