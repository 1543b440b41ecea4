# Two commands for a new user: `make demo` and `make test`. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
ARM64 := .arm64
BACKENDS := .backends
OLDEST := .oldest
SOURCES := sft_keras tests examples benchmarks

.PHONY: demo test test-slow test-long test-arm test-backends test-oldest lint clean

demo: $(READY)
	$(BIN)/sft-keras compress --dataset=digits --output_dir=sft-out --overwrite

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not arm and not backends"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-long: $(READY)
	SFT_RANDOM_NETWORKS=5000 $(BIN)/python -m pytest -n 2 tests/shrinking/test_random_networks.py

test-arm: $(READY) $(ARM64)/ready
	$(BIN)/python -m pytest -m arm tests/arm

test-backends: $(BACKENDS)/ready
	$(BACKENDS)/bin/python -m pytest -m backends tests/backends

test-oldest: $(OLDEST)/ready
	$(OLDEST)/bin/python -m pytest -n 2 --dist worksteal -m "not slow and not arm and not backends" \
		tests/test_callbacks.py tests/test_restart.py tests/test_compression.py tests/test_flavors.py \
		tests/shrinking/test_layers.py tests/quantization tests/tflite

lint: $(READY)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy sft_keras

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[runtimes,ethos-u,onnx,dev]"
	touch $(READY)

$(ARM64)/ready: tests/arm/set_up_arm64.py | $(READY)
	$(BIN)/python tests/arm/set_up_arm64.py

$(BACKENDS)/ready: pyproject.toml
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet --upgrade pip
	$(BACKENDS)/bin/python -m pip install --quiet --editable ".[backends,dev]"
	touch $(BACKENDS)/ready

$(OLDEST)/ready: pyproject.toml tests/oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet --constraint tests/oldest.txt --editable ".[runtimes,dev]"
	touch $(OLDEST)/ready

clean:
	rm -rf $(VENV) $(ARM64) $(BACKENDS) $(OLDEST) sft-out sft-out.backup
