# Every target sets up what it needs first, and may be repeated. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-all golden fuzz check-libtorch check-cuda setup-cuda-check bench test-gpu bench-gpu pack lint format clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup:           ## install what is missing (apt, NuGet)
	@tools/setup.sh

build:           ## build the native library and all projects
	@tools/build.sh all

demo: build      ## train a small model from nothing, teach it to chat and to prefer, and ask it (about 5 minutes); ADAPTER=lora or qlora: with adapters
	@ADAPTER="$(ADAPTER)" tools/demo.sh

test: build      ## all tests but the slow ones
	@tools/run-tests.sh

test-all: build  ## all tests
	@tools/setup.sh browser
	@tools/run-tests.sh all

golden: build    ## golden cases of another folder: make golden SHARED=DIR
	@tools/run-tests.sh golden "$(SHARED)"

fuzz: build      ## damaged files of every kind, 200,000 of each, and a million random texts: make fuzz CASES=200000
	@tools/run-tests.sh fuzz "$(CASES)"

check-libtorch: build ## native library and tests on the libtorch of Debian 13 and of unstable (as root)
	@tools/check-libtorch.sh

check-cuda: build ## native library and tests on Debian 13's libtorch for CUDA, without a card (as root; 2.7 GB, once)
	@tools/check-libtorch.sh cuda

setup-cuda-check: ## NVIDIA's run-time compiler into the cache folder (18 MB, once), so that tests compile the kernels for a GPU
	@tools/setup.sh cuda-check

bench: build     ## speed beside PyTorch, in one run; writes bench/results/latest.json
	@tools/setup.sh bench
	@bench/run.sh

test-gpu:        ## what is computed on a GPU beside the CPU, in 8 minutes; DRY=1: a rehearsal on a device that stands in for one
	@tools/gpu.sh test $(if $(DRY),--dry)

bench-gpu:       ## speed and memory of a model of 8 billion weights on a GPU, in 6 minutes; writes bench/results/gpu.json; DRY=1: a rehearsal
	@tools/gpu.sh bench $(if $(DRY),--dry)

pack: build      ## NuGet packages of the libraries, with the native one for linux-x64, in build/packages
	@tools/pack.sh

lint:            ## formatting, style and analyzers
	@tools/lint.sh

format:          ## repair formatting
	@tools/lint.sh fix

clean:           ## remove what was built; runs and caches stay
	@rm -rf build src/*/bin src/*/obj tests/*/bin tests/*/obj
