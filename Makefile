# Everything runs in a virtual environment of its own, made once.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test test-all lint clean

demo: $(READY)
	$(BIN)/python -m degrep_jax.main --config=configs/demo.py --workdir=runs/demo

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-all: $(READY)
	$(BIN)/python -m pytest -q -m "slow or not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): setup.cfg pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is needed; or name another: make PYTHON=python3.12" >&2; exit 2; }
	@echo "Making $(VENV): JAX, TensorFlow and PyTorch, about 3 GB; this takes a few minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' \
		> $(VENV)/install.log 2>&1 & pid=$$!; \
		while kill -0 $$pid 2> /dev/null; do sleep 5; printf '.'; done; echo; \
		wait $$pid || { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@touch $@

clean:
	rm -rf $(VENV) .cache build *.egg-info
