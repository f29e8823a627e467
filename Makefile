# longjump: `make` lists the targets. Nothing needs to be installed first but Python 3.11 or newer.
#
# One environment, .venv, serves everything. `make serve` puts in it what serving needs (no torch); `make test` and the
# other working targets add the rest. Each installs only when pyproject.toml or constraints.txt is newer than its stamp.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
PORT ?=
ARGS ?=
PEERS ?=
SECONDS ?=
REPEAT ?=
DEMO ?= runs/demo

# Tests and benches start hundreds of Python processes: each would compile all of our sources again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
PACKAGES := longjump.py longjump_client.py models trainer export server loadtest

##@ Use it
.PHONY: serve
serve: $(VENV)/.serve ## serve the demo on http://localhost:8000 (PORT=8001, ARGS="BUNDLE --help")
	@exec $(BIN)/longjump serve $(if $(PORT),--port $(PORT)) $(ARGS)

.PHONY: bench
bench: $(VENV)/.serve ## measure the server on this machine, each target beside its floor (PEERS=1: and beside mosec and FastAPI)
	@$(if $(PEERS),$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt mosec)
	@exec $(BIN)/longjump bench $(if $(PEERS),--peers) $(ARGS)

.PHONY: soak
soak: $(VENV)/.serve ## load a server at random for 10 minutes (SECONDS=60); its memory must stay flat
	@exec $(BIN)/longjump soak $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

.PHONY: lab
lab: $(VENV)/.dev ## train a few methods on eight Gaussians and serve them with the page /lab (ARGS="--methods meanflow imf")
	@exec $(BIN)/python -m tests.methods.lab --port $(or $(PORT),8000) $(ARGS)

.PHONY: demo-train
demo-train: $(VENV)/.dev ## train the demo again: data, training, export, into runs/demo (measured on 2 cores: 99 minutes, then 46 and 63 for its one step and 14 for its grids)
	@echo "longjump: the demo, from nothing, into $(DEMO): data about 5 minutes on 2 cores, then the training (it prints the time left)"
	@test -e $(DEMO)/data/data.json || $(BIN)/longjump data build facets --size 32 --train 60000 --test 10000 --out $(DEMO)/data
	@$(BIN)/longjump train facets/meanflow --data $(DEMO)/data --out $(DEMO)/run $$(test -e $(DEMO)/run/recipe.yaml && echo --resume)
	@$(BIN)/longjump train facets/split-meanflow --init $(DEMO)/run --data $(DEMO)/data --out $(DEMO)/sharp \
	  --set run.steps=1900 --set run.save_every=380 --set objective.guidance={} --set objective.walked_scale=null \
	  $$(test -e $(DEMO)/sharp/recipe.yaml && echo --resume)
	@$(BIN)/longjump train facets/split-meanflow --init $(DEMO)/sharp --teacher $(DEMO)/run --data $(DEMO)/data --out $(DEMO)/guided \
	  $$(test -e $(DEMO)/guided/recipe.yaml && echo --resume)
	@$(BIN)/longjump grids $(DEMO)/guided --data $(DEMO)/data --samples 256
	@$(BIN)/longjump export $(DEMO)/guided --out $(DEMO)/bundle --name facets-32 --licence Apache-2.0 --force
	@echo "longjump: done; look at it with: make serve ARGS=$(DEMO)/bundle"

##@ Work on it
.PHONY: dev
dev: $(VENV)/.dev ## install everything for training, export, evaluation and tests into .venv (a few minutes, 2.5 GB)

.PHONY: test
test: lint ## everything CI runs: ruff, mypy, and the tests but the slow ones, on all cores (ARGS="tests/server -k seed")
	@none=0; run() { $(BIN)/python -m pytest "$$@" $(ARGS) || { got=$$?; [ $$got = 5 ] && none=$$((none + 1)) || exit $$got; }; }; \
	  OMP_NUM_THREADS=1 run -m "not slow and not alone and not gpu" -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder; \
	  run -m "alone and not slow"; [ $$none -lt 2 ] || { echo "longjump: no test is like that" >&2; exit 5; }
	@echo "longjump: tests/gpu: not run, they need an NVIDIA GPU (make test-gpu)"

.PHONY: test-gpu
test-gpu: $(VENV)/.dev ## what needs an NVIDIA GPU, on a machine with one; without, it says so and fails
	@$(BIN)/python -m tests.gpu.present
	@$(MAKE) --no-print-directory $(VENV)/.gpu
	@$(VENV)/gpu/bin/python -m pytest -m gpu tests/gpu $(ARGS)

.PHONY: gpu-table
gpu-table: $(VENV)/.dev ## measure engines on an NVIDIA GPU beside PyTorch and through HTTP: docs/engines.md (ten minutes)
	@if $(BIN)/python -m tests.gpu.present; then $(MAKE) --no-print-directory $(VENV)/.gpu; \
	  $(VENV)/gpu/bin/python -m tests.bench.gpu_table $(ARGS); fi

.PHONY: test-slow
test-slow: $(VENV)/.dev ## the slow tests: whole training runs, minutes each
	@$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: drill
drill: $(VENV)/.dev ## harm a fleet in every way that `make test` does, as often as asked, and count its answers (REPEAT=10)
	@$(BIN)/python -m tests.server.fleet.drills.run $(REPEAT)

.PHONY: test-bundles
test-bundles: $(VENV)/.dev ## train the small picture bundles that the server's tests serve again (tests/server/bundles, a minute)
	@SOURCE_DATE_EPOCH=1795478400 $(BIN)/python -m tests.server.bundles.build

.PHONY: status
status: $(VENV)/.dev ## walk the whole road with every method and write docs/status.md from what came out (half an hour; ARGS="cd ct")
	@$(BIN)/python -m tests.road.status $(ARGS)

.PHONY: methods-table
methods-table: $(VENV)/.dev ## train every method on data with a known answer and write docs/methods.md; goes on where it was (hours)
	@$(BIN)/python -m tests.methods.table $(ARGS)

.PHONY: claims
claims: $(VENV)/.dev ## test the post's claims about the methods and write docs/claims.md with a plot of each (an hour)
	@$(BIN)/python -m tests.methods.page $(ARGS)

.PHONY: results
results: $(VENV)/.dev ## train six methods alike on Fashion-MNIST, measure them and write docs/results.md; goes on where it was (hours)
	@$(BIN)/python -m tests.methods.results $(ARGS)

.PHONY: train-speed
train-speed: $(VENV)/.dev ## measure a training step of every method beside flow matching, and write docs/training.md's table
	@$(BIN)/python -m tests.speed.table $(ARGS)

.PHONY: crosscheck
crosscheck: $(VENV)/.dev $(VENV)/.locust ## our load tester beside wrk (apt install wrk) and locust, on one server (ARGS="--rate 60")
	@PATH="$(CURDIR)/$(VENV)/locust/bin:$$PATH" $(BIN)/python -m tests.bench.crosscheck $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## ruff (faults, format) and mypy (types)
	@$(BIN)/ruff check --quiet $(PACKAGES) tests deploy
	@$(BIN)/ruff format --check --quiet $(PACKAGES) tests deploy || { echo "longjump: not formatted; 'make format' mends it" >&2; exit 1; }
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## let ruff format the code and mend what it can
	@$(BIN)/ruff check --quiet --fix $(PACKAGES) tests deploy
	@$(BIN)/ruff format --quiet $(PACKAGES) tests deploy

.PHONY: clean
clean: ## remove .venv and the caches; data and runs stay
	@echo "longjump: removing $(VENV), caches and build outputs"
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## "; print "usage: make TARGET" } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST) \
	  | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi

# The environment. `.made` is older than both stamps, so that making it anew installs everything anew.
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "longjump: $(PYTHON) not found; install Python 3.11 or newer, or give one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "longjump: needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1); give a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "longjump: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "longjump: making $(VENV) ($$($(PYTHON) -V))"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.serve: $(VENV)/.made pyproject.toml constraints.txt
	@echo "longjump: installing what serving needs into $(VENV) (once; about 240 MB on disk, no torch)"
	@$(INSTALL) '.[cpu]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "longjump: installing what training and the tests need into $(VENV) (once; torch is large)"
	@$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.serve

# ONNX Runtime for GPUs has an environment of its own: it and the usual one are the same module.
$(VENV)/.gpu: $(VENV)/.made pyproject.toml constraints.txt
	@echo "longjump: installing what running on a GPU needs into $(VENV)/gpu (once; several GB)"
	@$(PYTHON) -m venv $(VENV)/gpu
	@$(VENV)/gpu/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[gpu,gpu-jpeg,tensorrt,train]' pytest pytest-timeout
	@touch $@

# locust has an environment of its own: what it brings along must not change what the tests see.
$(VENV)/.locust: $(VENV)/.made
	@echo "longjump: installing locust into $(VENV)/locust"
	@$(PYTHON) -m venv $(VENV)/locust
	@$(VENV)/locust/bin/python -m pip install --quiet --disable-pip-version-check locust==2.47.0
	@touch $@
