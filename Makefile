# EdgeSight. `make` alone lists what can be made; everything happens in .venv, which is made and kept here.
# make and Verilator's makefiles split paths at spaces.
ifneq ($(words $(CURDIR)),1)
$(error the path of this folder has a space in it ("$(CURDIR)"), at which make and Verilator split it: move the checkout to a path without one)
endif

PYTHON ?= python3
IMAGES ?= 4000
N ?= 10000
KERNEL ?= bitstreams/fashion-mnist
BACKEND ?= rtl
VENV := .venv
RUN := $(VENV)/bin/
# Tests run two at a time, whole files each: fixtures are made once a file, and no test that takes the time has more beside it.
TESTS := -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs verify fuzz bitstream bench-board bench-cluster bench-coverage bench-emulator bench-folding bench-gpu bench-hostile bench-link bench-photograph bench-plan bench-serve bench-service bench-watch prove prove-mutants kernels train wheel clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/demo.stamp ## The whole cascade on simulated hardware and a lossy link; writes build/demo/report.{json,png}
	$(RUN)edgesight demo --images $(IMAGES)

test: lint ## Everything: lint, types, unit tests, RTL benches, equality of all four forms of the networks
	$(RUN)pytest $(TESTS)

lint: $(VENV)/all.stamp ## ruff and mypy; the RTL's lint is in the tests
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy

docs: $(VENV)/all.stamp ## The documentation as a site, strictly: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(RUN)mkdocs build --strict

verify: $(VENV)/all.stamp ## Brevitas = QONNX = csim = Verilated RTL on N images (default 10000); writes build/verify/
	$(RUN)edgesight verify bitstreams/fashion-mnist fashion-mnist --zoo quant/zoo/fashion-mnist --images $(N)

fuzz: $(VENV)/all.stamp ## 10^7 executions over all parsers, 10^5 QUIC packets; writes build/fuzz/{fuzz,quic}.json
	$(RUN)python -m tests.fuzz.run
	$(RUN)python -m tests.fuzz.quic

bench-coverage: $(VENV)/all.stamp ## Networks as people have them and random ones: truth = reference = csim = RTL; DATA=folder with qonnx-zoo/ (ZOO= trained on its gtsrb32.zip; HLS4ML= its tests' models); writes build/bench/coverage.json
	$(RUN)edgesight bench coverage $(if $(DATA),--trained $(DATA)/qonnx-zoo) $(if $(HLS4ML),--hls4ml-models $(HLS4ML)) $(if $(ZOO),--zoo $(ZOO) --dataset folder:$(DATA)/gtsrb32.zip)

bench-folding: $(VENV)/all.stamp ## Folded networks: interval over the bound at three foldings, cells beside FINN's library and da4ml; DATA=folder with qonnx-zoo/; writes build/bench/folding.json
	$(RUN)edgesight bench folding --zoo quant/zoo/digits --zoo quant/zoo/fashion-mnist $(if $(DATA),--trained $(DATA)/qonnx-zoo)

# PyPI's torchvision does not load beside a torch without CUDA, so that it is installed only where a GPU is found.
bench-gpu: $(VENV)/all.stamp ## The data centre on an NVIDIA GPU: throughput, latency, energy a request; at most 8 min; without a GPU it says so; writes build/bench/gpu.json
	@if $(RUN)python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then $(RUN)pip install --quiet --editable '.[gpu]' || echo 'Without torchvision pictures are decoded on the CPUs.'; fi
	$(RUN)edgesight bench gpu

bench-board: $(VENV)/all.stamp ## Open board built and answering at its pins, PYNQ host, Vivado dry runs, power; writes build/bench/board.json
	$(RUN)edgesight bench board quant/zoo/fashion-mnist

bench-link: $(VENV)/all.stamp ## The link's transport beside gRPC, QUIC streams and UDP (root; DATA=folder with photos256.zip, traces/); writes build/bench/link.json
	$(RUN)edgesight bench link $(if $(DATA),--photos $(DATA)/photos256.zip --traces $(DATA)/traces) $(if $(LABELS),--labels $(LABELS))

bench-hostile: $(VENV)/all.stamp ## What strangers and a turned edge can do to the answers of another edge; writes build/bench/hostile.json
	$(RUN)edgesight bench hostile

bench-photograph: $(VENV)/all.stamp ## A back end that takes the photograph, a stranger's, strange pictures, a site's thresholds; DATA=folder with clothing224.zip, gtsrb32.zip, photos256.zip (ZOO=, SIGNS_ZOO= trained on the first two; CASES= odd pictures); writes build/bench/photograph.json
	$(RUN)edgesight bench photograph $(if $(DATA),--photographs $(DATA)/clothing224.zip --signs $(DATA)/gtsrb32.zip --others $(DATA)/gtsrb32.zip --anything $(DATA)/photos256.zip) $(if $(ZOO),--zoo $(ZOO)) $(if $(SIGNS_ZOO),--signs-zoo $(SIGNS_ZOO)) $(if $(CASES),--pictures $(CASES))

bench-service: $(VENV)/all.stamp ## The data centre's doors: latency, load, many models, fairness, clients, fuzzing, kills (IMAGE_CLIENT=tritonclient's image_client.py; PEERS=no installs no other server to compare with); writes build/bench/service.json
	$(RUN)edgesight bench service $(if $(IMAGE_CLIENT),--image-client $(IMAGE_CLIENT)) $(if $(filter no,$(PEERS)),--no-peers)

bench-cluster: $(VENV)/all.stamp ## Plans executed, as root: a network cut anew as a link moves; eight clients whose sizes and models follow their links; one in pieces on nodes of Ray, one of which is lost; a workflow at its rate; models in replicas; DATA=folder with clothing224.zip, traces/; writes build/bench/cluster.json, sizing.md
	$(RUN)edgesight bench cluster $(if $(DATA),--photographs $(DATA)/clothing224.zip --traces $(DATA)/traces)

bench-watch: $(VENV)/all.stamp ## Watching: how soon audits tell of a fall and how often they are wrong, every counter against a run's log as Prometheus scraped it, the live page in a browser, what it costs; writes build/bench/watch.json
	$(RUN)edgesight bench watch

bench-serve: $(VENV)/all.stamp ## P99 at the same accuracy under load, beside what people use today, in virtual time and, where root may make network namespaces, for real; a fleet, energy; DATA=folder with clothing224.zip, gtsrb32.zip, traces/ (ZOO=, SIGNS_ZOO= trained on the first two); writes build/bench/serve.json
	$(RUN)edgesight bench serve $(if $(DATA),--photographs $(DATA)/clothing224.zip --signs $(DATA)/gtsrb32.zip --traces $(DATA)/traces) $(if $(ZOO),--zoo $(ZOO)) $(if $(SIGNS_ZOO),--signs-zoo $(SIGNS_ZOO))

bench-plan: $(VENV)/all.stamp ## All planners against the authors' methods, exact ones and baselines; DATA=folder with traces/, jellybean-vqa/
	$(RUN)edgesight bench plan $(if $(DATA),--traces $(DATA)/traces --published $(DATA)/jellybean-vqa)

prove: $(VENV)/all.stamp ## Prove the stream cells by Yosys and z3; writes build/bench/prove.json
	$(RUN)edgesight bench prove

prove-mutants: $(VENV)/all.stamp ## Change each stream cell in 20 places: does its bench or its proof notice? Up to 90 min; writes build/bench/prove-mutants.json
	$(RUN)edgesight bench prove-mutants

bench-emulator: $(VENV)/all.stamp ## How true the emulated link is (root); writes build/bench/emulator.json
	$(RUN)edgesight bench emulator

bitstream: $(VENV)/all.stamp ## BOARD=pynq-z2, kv260, zcu104 or ulx3s: the bitstream of KERNEL, put into it (BACKEND=vitis: hls4ml's own C++)
	@test -n "$(BOARD)" || { $(RUN)edgesight board list; echo "Which board? make bitstream BOARD=... [KERNEL=$(KERNEL)] [BACKEND=rtl|vitis]"; exit 1; }
	$(RUN)edgesight board bitstream $(KERNEL) --board $(BOARD) --backend $(BACKEND)

wheel: $(VENV)/bin/python ## The wheel that boards install, as build/wheel/edgesight-*.whl
	$(RUN)pip wheel --quiet --no-deps --wheel-dir build/wheel .

kernels: $(VENV)/all.stamp ## Compile and calibrate the shipped kernel packages anew from the zoo
	$(RUN)edgesight kernels

train: $(VENV)/all.stamp ## Train the shipped networks anew (hours)
	$(RUN)edgesight train digits
	$(RUN)edgesight train fashion-mnist
	@for stage in stage0 stage1; do \
	  $(RUN)edgesight train fashion-mnist --stage0 steep --stage1 steep --variant $$stage --seeds 1 \
	    --backend quant/zoo/fashion-mnist/backend.onnx --backend-input quant/zoo/fashion-mnist-steep/backend.toml \
	    --out quant/zoo/fashion-mnist-steep || exit; \
	done

clean: ## Remove what was built, libraries in the user's cache included; .venv, checkpoints and measurements there stay
	rm -rf build bitstreams/*/lib "$${XDG_CACHE_HOME:-$$HOME/.cache}/edgesight/libraries"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "EdgeSight needs Python 3.11 or newer here (boards: 3.10): make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made: on Debian, apt-get install python3-venv"; exit 1; }

# The demo needs no torch; of hls4ml, the C++ headers alone. The doors are for its page.
$(VENV)/demo.stamp: pyproject.toml | $(VENV)/bin/python
	@for tool in g++ perl; do command -v $$tool >/dev/null || { echo "$$tool is missing; on Debian: apt-get install g++ make perl"; exit 1; }; done
	$(RUN)pip install --quiet --editable '.[datacenter,oip,sim]'
	@touch $@

$(VENV)/all.stamp: pyproject.toml $(VENV)/demo.stamp
	$(RUN)pip install --quiet --editable '.[build,datacenter,dev,docs,flow,fuzz,nvml,oip,peers,plan,ray,serial,sim]'
	@touch $@
