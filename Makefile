# The commands a newcomer or CI needs. The first one makes its own environment in .venv (once).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-cpp test-python test-sanitize test-targets fuzz lint bench zoo clean

VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := edge_sdk export federated
CPP_BUILD := build/ctest
CPP_SOURCES := CMakeLists.txt $(wildcard csrc/*/*) $(wildcard csrc/*/*/*)
CPP_FILES := $(filter %.h %.hpp %.cpp,$(CPP_SOURCES)) $(wildcard examples/*/main.c*)
# Byte-compiling torch and its like costs half of the installation; imports compile what they use.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq install --no-compile --prefer-binary

help:
	@echo 'make demo   meta-train, export, personalize, federate; writes report.html'
	@echo 'make test   all tests, C++ and Python'
	@echo 'make lint   formatting, lint, types and import rules'
	@echo 'make bench  speed beside other training runtimes; writes benchmarks/results'
	@echo 'make clean  remove what these commands made'
	@echo 'Longer ones, not part of make test:'
	@echo 'make zoo            trains what is in bundles/ again; ONLY=NAME for one; needs EDGE_SDK_DATA'
	@echo 'make test-sanitize  C++ tests under ASan + UBSan, then under TSan'
	@echo 'make test-targets   installs emulators and cross compilers (apt), tests on them'
	@echo 'make fuzz           each parser of bytes for FUZZ_SECONDS (30) under ASan + UBSan; needs clang'

# --- environment -------------------------------------------------------------------------------

$(BIN)/python:
	@for python in python3 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo 'No Python 3.11 or newer found: install one, or put it first on PATH.' >&2; exit 1

$(VENV)/.dependencies: pyproject.toml | $(BIN)/python
	@command -v c++ >/dev/null || { echo 'No C++17 compiler (c++) found: install g++ or clang.' >&2; exit 1; }
	@echo 'Installing into $(VENV) (once; a minute or two) ...'
	@$(PIP) cmake ninja $$($(BIN)/python scripts/requirements.py build)
	@$(PIP) $$($(BIN)/python scripts/requirements.py dev)
	@touch $@

$(VENV)/.core: $(VENV)/.dependencies $(CPP_SOURCES)
	@echo 'Building the C++ core ...'
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

# --- commands ----------------------------------------------------------------------------------

demo: $(VENV)/.core
	@$(BIN)/edge-sdk demo --out report.html

# Real data sets, where they lie beside the checkout, are used by the tests that can.
ifneq ($(wildcard ../shared/data/.),)
test-python zoo: export EDGE_SDK_DATA ?= $(abspath ../shared/data)
endif

test: $(VENV)/.core
	@status=0; \
	$(MAKE) --no-print-directory test-cpp || status=1; \
	$(MAKE) --no-print-directory test-python || status=1; \
	exit $$status

test-cpp: $(VENV)/.core
	@echo 'C++ tests:'
	@PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B $(CPP_BUILD) -G Ninja --log-level=WARNING \
	  $(if $(CI),-DEDGE_WERROR=ON) >/dev/null
	@$(BIN)/cmake --build $(CPP_BUILD) -- --quiet
	@$(BIN)/ctest --test-dir $(CPP_BUILD) --output-on-failure --no-tests=error \
	  | grep -vE '^ +Start |^Test project|^Internal ctest'

# In processes side by side: two that train and export learners, and one, which often waits, for the rest.
CONTRACT_TESTS := tests/contract
EXPORT_TESTS := tests/parity tests/unit/export
test-python: export OMP_NUM_THREADS = 1
test-python: $(VENV)/.core
	@echo 'Python tests:'
	@mkdir -p build; \
	$(BIN)/python -m pytest -q $(CONTRACT_TESTS) >build/contract-tests.log 2>&1 & contract=$$!; \
	$(BIN)/python -m pytest -q $(EXPORT_TESTS) >build/export-tests.log 2>&1 & export=$$!; \
	trap 'kill $$contract $$export 2>/dev/null || true' EXIT; \
	status=0; \
	$(BIN)/python -m pytest -q $(addprefix --ignore=,$(CONTRACT_TESTS) $(EXPORT_TESTS)) || status=1; \
	wait $$contract || status=1; \
	wait $$export || status=1; \
	cat build/contract-tests.log build/export-tests.log; \
	exit $$status

SANITIZERS := address,undefined thread
test-sanitize: $(VENV)/.core
	@for sanitizer in $(SANITIZERS); do \
	  build=build/sanitize-$${sanitizer%%,*}; \
	  echo "C++ tests under $$sanitizer:"; \
	  PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B $$build -G Ninja --log-level=WARNING \
	    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DEDGE_SANITIZE=$$sanitizer >/dev/null; \
	  $(BIN)/cmake --build $$build -- --quiet; \
	  $(BIN)/ctest --test-dir $$build --output-on-failure --no-tests=error \
	    | grep -vE '^ +Start |^Test project|^Internal ctest'; \
	done

test-targets: $(VENV)/.core
	@scripts/targets/arm64.sh $(BIN)/python
	@$(PIP) $$($(BIN)/python scripts/requirements.py npu)
	@echo 'npu: ready'
	@mkdir -p build/targets
	@$(BIN)/python -m pytest -q tests/e2e/test_arm64.py tests/e2e/test_npu.py | tee build/targets/tests.log
	@! grep -q ' skipped' build/targets/tests.log || { echo 'A target was not tested, see above.' >&2; exit 1; }

FUZZ_SECONDS ?= 30
FUZZERS := state examples manifest graph
fuzz: $(VENV)/.core
	@command -v clang++ >/dev/null || { echo 'make fuzz needs clang with libFuzzer.' >&2; exit 1; }
	@$(BIN)/cmake -S . -B build/fuzz -G Ninja --log-level=WARNING \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DCMAKE_CXX_COMPILER=clang++ \
	  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DEDGE_SANITIZE=address,undefined \
	  -DEDGE_BUILD_FUZZERS=ON -DEDGE_BUILD_TESTS=OFF >/dev/null
	@$(BIN)/cmake --build build/fuzz --target $(addprefix fuzz_,$(FUZZERS)) -- --quiet
	@for name in $(FUZZERS); do \
	  mkdir -p build/fuzz/found/$$name; \
	  dict=csrc/fuzz/$$name.dict; \
	  echo "Fuzzing $$name for $(FUZZ_SECONDS) s ..."; \
	  build/fuzz/csrc/fuzz/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 \
	    -rss_limit_mb=2048 -artifact_prefix=build/fuzz/crash-$$name- \
	    $$(test ! -e $$dict || echo "-dict=$$dict") build/fuzz/found/$$name csrc/fuzz/corpus/$$name \
	    2>build/fuzz/$$name.log || { tail -60 build/fuzz/$$name.log >&2; exit 1; }; \
	  tail -1 build/fuzz/$$name.log; \
	done

lint: $(VENV)/.core
	@status=0; \
	$(BIN)/ruff check --quiet || status=1; \
	$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check || status=1; }; \
	$(BIN)/mypy || status=1; \
	$(BIN)/clang-format --dry-run --Werror $(CPP_FILES) || status=1; \
	report=$$($(BIN)/lint-imports 2>&1) || { echo "$$report"; status=1; }; \
	if [ $$status = 0 ]; then echo 'lint: all clean'; else echo 'lint: FAILED, see above'; fi; \
	exit $$status

zoo: $(VENV)/.core
	@$(BIN)/edge-sdk export zoo bundles/zoo.toml $(addprefix --only ,$(ONLY))

BENCH_VENVS := build/bench-venvs

$(BENCH_VENVS)/.made: benchmarks/device/make_venvs.sh $(VENV)/.core
	@PYTHON=$(abspath $(BIN))/python sh $< $(BENCH_VENVS) || echo 'Some peers could not be installed; they are reported as missing.' >&2
	@mkdir -p $(BENCH_VENVS) && touch $@

bench: $(BENCH_VENVS)/.made
	@$(BIN)/python benchmarks/device/run.py --venvs $(BENCH_VENVS)

clean:
	rm -rf $(VENV) build runs report.html .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
