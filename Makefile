# Everything runs from here: `make help` lists it. No root, no ROS distribution and no GPU needed.
# Variables: PYTHON (3.10 to 3.12), SEED, SEEDS, PATH_TO_FRAMES, SENSOR_KIND, RECIPE, MINUTES, and OUT, the JSON file that a command writes;
# benchmarks write the files behind docs/results/README.md without it.

PYTHON ?= python3
VENV ?= .venv
SEED ?= 1
SEEDS ?= 1-40
RUN := $(VENV)/bin/python

# A Python of another set of ROS wheels may have started this make: its libraries must not reach ours.
ifdef _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport LD_LIBRARY_PATH
endif

# A sourced ROS distribution brings rclpy and the numpy its messages were compiled for; otherwise wheels do.
ifneq ($(ROS_DISTRO),)
SOURCED_ROS := $(shell $(PYTHON) -c 'import rclpy; print(1)' 2>/dev/null)
endif
ifeq ($(SOURCED_ROS),1)
VENV_OPTIONS := --system-site-packages
NUMPY_OF_ROS := "numpy==$(shell $(PYTHON) -c 'import numpy; print(numpy.__version__)')"
else
ROS_WHEELS := -r requirements/ros_wheels.txt
endif

RUNTIME_READY := $(VENV)/.runtime_ready
TRAINING_READY := $(VENV)/.training_ready

.PHONY: help setup pour test replay doctor pour-benchmark bench-realtime bench-probe bench-optics bench-sensors \
  bench-gel-health bench-strangeness bench-shear bench-training-step results lint clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo 'visuotactile_ros needs Python 3.10 to 3.12. Name one: make PYTHON=python3.12 …'; exit 1; }
	@$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV) || \
	  { echo 'The venv module of $(PYTHON) is missing. Install it: apt install python3-venv'; rm -rf $(VENV); exit 1; }

$(RUNTIME_READY): requirements/runtime.txt requirements/ros_wheels.txt | $(VENV)/bin/python
	@echo 'Setting up $(VENV): what the nodes need (once, a minute or two)'
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/runtime.txt $(ROS_WHEELS) $(NUMPY_OF_ROS)
	@touch $@

$(TRAINING_READY): requirements/training.txt requirements/test.txt requirements/test_without_dependencies.txt $(RUNTIME_READY)
	@echo 'Setting up $(VENV): what training and the tests need (once, a few minutes)'
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/training.txt -r requirements/test.txt \
	  $(NUMPY_OF_ROS)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps \
	  -r requirements/test_without_dependencies.txt
	@touch $@

setup: $(RUNTIME_READY) ## Install what the nodes need into .venv

pour: $(RUNTIME_READY) ## Pour 60 g of beads in simulation and write a report (SEED=1)
	@$(RUN) -m visuotactile_ros.pour seed:=$(SEED)

doctor: $(RUNTIME_READY) ## Look for sensors, permissions, models and the arm, and say what to mend (ARM=<address>)
	@$(RUN) -m visuotactile_ros.doctor $(if $(ARM),--arm $(ARM))

replay: $(RUNTIME_READY) ## Embeddings and predictions for PATH_TO_FRAMES=<folder, video or bag> (SENSOR_KIND=…, TOPIC=…, OUT=…)
	@$(RUN) -m visuotactile_ros.replay_frames '$(PATH_TO_FRAMES)' $(if $(SENSOR_KIND),--sensor-kind $(SENSOR_KIND)) \
	  $(if $(TOPIC),--topic $(TOPIC)) $(if $(TIMING),--timing $(TIMING)) \
	  $(if $(OUT),--output '$(OUT)')

test: $(TRAINING_READY) ## Run every test
	@$(RUN) -m pytest test/test_*.py test/unit test/training test/golden test/ros test/system

pour-benchmark: $(TRAINING_READY) ## Randomised simulated pours, SEEDS=1-40, OUT=<json>
	@$(RUN) -m training.evaluation.pour_benchmark --seeds $(SEEDS) --output '$(or $(OUT),docs/results/pour_benchmark.json)'

bench-realtime: $(RUNTIME_READY) ## Rates, latency and CPU of the full graph for 60 s, OUT=<json>
	@$(RUN) -m visuotactile_ros.bench_realtime --output '$(or $(OUT),docs/results/realtime.json)'

bench-probe: $(TRAINING_READY) ## Linear probes of the default encoder, OUT=<json>
	@$(RUN) -m training.evaluation.bench_probe --output '$(or $(OUT),docs/results/probe.json)'

bench-optics: $(TRAINING_READY) ## Rendered gel images against real ball presses, OUT=<json>
	@$(RUN) -m training.evaluation.bench_optics --output '$(or $(OUT),docs/results/optics.json)'

bench-sensors: $(RUNTIME_READY) ## Decoding of MJPG, and 1, 3 and 6 cameras at once, OUT=<json>
	@$(RUN) -m visuotactile_ros.bench_sensors --output '$(or $(OUT),docs/results/sensors.json)'

bench-gel-health: $(TRAINING_READY) ## Gel health on simulated damage and real frames, OUT=<json>
	@$(RUN) -m training.evaluation.calibrate_gel_health --output '$(or $(OUT),docs/results/gel_health.json)'

bench-strangeness: $(TRAINING_READY) ## What the out-of-distribution alarm notices, OUT=<json>
	@$(RUN) -m training.evaluation.bench_strangeness --output '$(or $(OUT),docs/results/strangeness.json)'

bench-shear: $(TRAINING_READY) ## Shear, twist, slip and depth on simulated contacts, OUT=<json>
	@$(RUN) -m training.evaluation.bench_shear --output '$(or $(OUT),docs/results/shear.json)'

bench-training-step: $(TRAINING_READY) ## Time and use of the GPU of a TLV-CoRe step on ViT-L/14 beside a plain loop, OUT=<json>
	@$(RUN) -m training.evaluation.bench_training_step --output '$(or $(OUT),docs/results/training_step.json)'

rss-base: ## The small CLIP that all methods start from, and what it knows
rss-rates: ## RSS table: learning rates of every method, compared on validation samples
rss-robustness: ## RSS table: every method, every training set, six touch tasks (MINUTES=60 stops, the same goes on)
rss-synergy: ## RSS table: touch tasks by the vision tower, picture tasks by the touch tower
rss-stability: ## RSS table: batch sizes 16 to 128
rss-ablation: ## RSS table: TLV-CoRe without SAM, L_DL or UBA, and terms of convergence
rss-%: $(TRAINING_READY)
	@$(RUN) -m training.evaluation.rss $* --recipe '$(or $(RECIPE),training/recipes/rss_simulated.yaml)' \
	  --output '$(or $(OUT),docs/results/rss_$*.json)' $(if $(MINUTES),--max-minutes $(MINUTES))

results: $(TRAINING_READY) ## Write docs/results/README.md from the JSON beside it
	@$(RUN) -m training.evaluation.write_results

lint: $(TRAINING_READY) ## Check style
	@$(RUN) -m ruff check .

clean: ## Remove what make made: the environment, runs and caches
	rm -rf $(VENV) runs build install log .pytest_cache .hypothesis .ruff_cache
