# Everything runs in a virtual environment of its own, made once.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The versions that were tested together; make CONSTRAINTS= takes the newest instead.
CONSTRAINTS ?= constraints.txt

.PHONY: demo model test test-slow test-promises test-page test-all test-portable parity bench bench-input chaos lint docs docs-serve clean

demo: $(VENV)/ready
	$(BIN)/python -m degrep_jax.main --config=configs/demo.py --workdir=runs/demo
	@echo "And a photograph by a network that ships:"
	$(BIN)/degrep deblur tests/shipped/coffee_blurry.png --output runs/demo/coffee.png --overwrite \
	  --compare

# The networks that ship, trained anew, which takes hours; after an interruption the same command
# goes on: make model GOPRO=GOPRO_Large PAIRS=folder PHOTOS=folder. What is not named is left out.
MODEL ?= runs/model
MODEL_FLAGS ?=
part = $(if $(2),--config.data.parts.$(1).root=$(abspath $(2)),--config.data.parts.$(1).weight=0)
data = $(call part,gopro,$(GOPRO)) $(call part,pairs,$(PAIRS)) $(call part,photos,$(PHOTOS))
commit = $(shell git rev-parse HEAD 2> /dev/null || echo unknown)
model: $(VENV)/ready
	@test -n "$(GOPRO)$(PHOTOS)" || { echo "Name pictures to train on:" \
	  "make model GOPRO=folder PAIRS=folder PHOTOS=folder" >&2; exit 2; }
	$(BIN)/python -m degrep_jax.main --config=small_joint --workdir=$(MODEL)/joint $(data) \
	  $(MODEL_FLAGS)
	$(BIN)/python -m degrep_jax.main --config=small_deblur --workdir=$(MODEL)/deblur $(data) \
	  --config.train.init_from=$(MODEL)/joint $(MODEL_FLAGS)
	$(BIN)/python -m degrep_jax.main --config=small_finetune --workdir=$(MODEL)/finetune $(data) \
	  --config.train.start_from=$(MODEL)/deblur --config.model.encoder=structure $(MODEL_FLAGS)
	for name in joint:small_joint finetune:small; do $(BIN)/degrep export $(MODEL)/$${name%:*} \
	  --format safetensors --dtype float16 --note commit=$(commit) \
	  --note data="$(notdir $(GOPRO) $(PAIRS) $(PHOTOS))" \
	  --output $(MODEL)/$${name#*:}.safetensors --overwrite || exit $$?; done

test: $(VENV)/ready-test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# The slow tests: full-width networks, kills, several processes and the page in a browser.
test-slow: $(VENV)/ready-test-all $(VENV)/browser
	$(BIN)/python tests/support/everything.py --slow

# Of those, the ones that guard what the documentation promises of kills and of several processes.
test-promises: $(VENV)/ready-test
	$(BIN)/python -m pytest -q -m promise

# Those of the page alone.
test-page: $(VENV)/ready-test-all $(VENV)/browser
	$(BIN)/python -m pytest -q -m slow tests/app/test_page.py

test-all: $(VENV)/ready-test-all $(VENV)/browser
	$(BIN)/python tests/support/everything.py

# make test, again and again, as other processors would run it; goes on after a red form.
test-portable: $(VENV)/ready-test
	$(BIN)/python tests/support/portable.py

parity: $(VENV)/ready-test
	$(BIN)/python -m pytest -q -k test_reference -m "slow or not slow" --parity

# Seconds and memory beside the released code: make bench RELEASED=folder, a clone of it.
bench: $(VENV)/ready-test
	@test -d "$(RELEASED)" || { echo "Name a clone of github.com/dasongli1/Learning_degradation:" \
	  "make bench RELEASED=folder" >&2; exit 2; }
	@for width in 64 16; do $(BIN)/python experiments/compare_pytorch.py --width=$$width \
	  --official_repo="$(RELEASED)" --task=msdi_net --task=joint_step --task=deblur_step \
	  || exit $$?; done

bench-input: $(VENV)/ready
	$(BIN)/python experiments/benchmark_input.py

# 30 kills and 30 polite ends; make chaos CHAOS='--kills=5 --seed=1' for fewer.
CHAOS ?= --kills=30
chaos: $(VENV)/ready
	$(BIN)/python experiments/chaos.py --signal=KILL $(CHAOS)
	$(BIN)/python experiments/chaos.py --signal=TERM $(CHAOS)

lint: $(VENV)/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# $(call install,what,about): pip, quiet but for a dot every five seconds.
define install
	@echo "Installing $(2) into $(VENV), once; this takes a few minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "No virtual environment by $(PYTHON); name another: make PYTHON=python3.12" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable '$(1)' \
	  > $(VENV)/install.log 2>&1 & pid=$$!; trap "kill $$pid; exit 130" INT TERM; \
	  while kill -0 $$pid 2> /dev/null; do sleep 5; printf .; done; echo; \
	  wait $$pid || { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@touch $@
endef

$(VENV)/ready: setup.cfg pyproject.toml $(CONSTRAINTS)
	$(call install,.,JAX and TensorFlow)

$(VENV)/ready-test: $(VENV)/ready
	$(call install,.[test],PyTorch and the test tools)

$(VENV)/browser:
	@{ command -v chromium && command -v chromedriver; } > /dev/null || { \
	  echo "The page is tested in a browser: apt-get install chromium chromium-driver" >&2; exit 2; }
	@touch $@

$(VENV)/ready-docs: $(VENV)/ready
	$(call install,.[docs],MkDocs)

$(VENV)/ready-test-all: $(VENV)/ready-test
	$(call install,.[test-all],Gradio and Selenium)

docs: $(VENV)/ready-docs
	$(BIN)/python -m mkdocs build

docs-serve: $(VENV)/ready-docs
	$(BIN)/python -m mkdocs serve

clean:
	rm -rf $(VENV) build *.egg-info
