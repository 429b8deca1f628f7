# Each target sets up .venv by itself when it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
BROWSER := .venv/browser
LITELLM := .venv/litellm
TOOLS := build/tools
LOCKED_EXTRAS := gpu traces
NEEDED_BY_TORCH := filelock fsspec jinja2 networkx setuptools sympy typing-extensions

KEYS := docker/secrets/api_keys
MOUNTED := $(addprefix docker/,nginx.conf prometheus.yml alerts.yml no-keys.txt grafana/provisioning grafana/dashboards)
COMPOSE ?= $(if $(shell docker compose version 2>/dev/null),docker compose,podman-compose)
UP ?= --build

.PHONY: help serve test test-slow test-system up down check demo demo-fashion demo-quality bench chaos soak scaling sbom lock docs page-pictures clean
.DEFAULT_GOAL := serve

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torch-fidelity  # it asks for torchvision
	touch $(READY)

$(BROWSER): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	touch $(BROWSER)

$(LITELLM): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[litellm]'
	touch $(LITELLM)

$(TOOLS)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --constraint constraints.txt cyclonedx-bom uv
	touch $(TOOLS)/ready

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

serve: $(READY)  ## run the service on the embedded demo models, http://127.0.0.1:8000
	$(BIN)/dit serve

# One thread each: two processes of two threads on two cores wait for each other.
test: $(READY)  ## every test that needs no GPU and few minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(LITELLM)  ## full-size checkpoints, and a client that brings much: needs 16 GiB of memory and of disk
	$(BIN)/python -m pytest -q -m slow

test-system: $(BROWSER)  ## containers, the compose stack, Prometheus, a browser, a soak, an attack on memory, really run: Debian, as root, 25 minutes
	PYTHON=$(PYTHON) tests/system/install.sh
	$(BIN)/python -m pytest -q -m system

$(KEYS):
	mkdir -p $(@D) && chmod 700 $(@D)
	umask 077 && $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(32))' > $@.new && mv $@.new $@

# What is mounted is read by the containers' own users, who are nobody here. After a checkout under umask 077 they could not.
# The key is no secret to them, but is to everybody else on this machine: nobody enters its folder, and a mount needs not to.
up: $(KEYS)  ## the stack of docker-compose.yml, with a key of its own in docker/secrets/api_keys
	@chmod 700 $(dir $(KEYS))
	@find $(MOUNTED) $(KEYS) \( ! -perm -044 -o -type d ! -perm -055 \) -exec chmod a+rX {} +
	API_KEYS_FILE=./$(KEYS) $(COMPOSE) up --detach $(UP)
	@front=http://127.0.0.1:$${FRONT_PORT:-8080}; printf '%s\n' \
		"The service is at $$front, Grafana at http://127.0.0.1:$${GRAFANA_PORT:-3000}, the API key in $(KEYS):" \
		"  curl -s $$front/generate -H \"authorization: Bearer \$$(cat $(KEYS))\" \\" \
		"       -H 'content-type: application/json' -d '{\"class_id\": 7, \"cfg\": 4, \"steps\": 20}' -o seven.png"

down:  ## ends that stack; its volumes stay
	API_KEYS_FILE=./$(KEYS) $(COMPOSE) down

check: $(READY)  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/mypy

sbom: $(READY) $(TOOLS)/ready  ## build/sbom.json: what is installed, as CycloneDX
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
		--output-file build/sbom.json $(BIN)/python

lock: $(TOOLS)/ready  ## requirements.lock: what serving needs at the versions of constraints.txt, with hashes, torch apart
	echo torch > build/apart
	printf '%s\n' $(NEEDED_BY_TORCH) | $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --constraint constraints.txt --excludes build/apart $(LOCKED_EXTRAS:%=--extra %) \
		--annotation-style line --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml -

docs: $(READY)  ## the table of settings in docs/operations.md
	$(BIN)/python -m docs.settings_table docs/operations.md

page-pictures: $(BROWSER)  ## the pictures of docs/page.md, of a real server in a real browser (apt install chromium fonts-dejavu-core)
	$(BIN)/python -m docs.page_pictures docs/page

demo: $(READY)  ## train the two models of digits again (about two hours of processor time)
	$(BIN)/python -m dit_serve.models.demo.train

demo-fashion: $(READY)  ## train the model of Fashion-MNIST again (about two and a half hours of processor time; apt install dataset-fashion-mnist)
	$(BIN)/python -m dit_serve.models.demo.train_fashion

demo-quality: $(READY)  ## measure the demo models: classifier accuracy and Frechet distance over 1,000 images each
	$(BIN)/python -m dit_serve.models.evaluation.demo_quality

bench: $(READY)  ## the pipeline against diffusers' own, then the service against its peers (half an hour)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.bench_pipeline
	$(BIN)/python -m benchmarks.bench_service

chaos: $(READY)  ## overload, disconnects, kills, poison, slow clients and host faults, against a real server (half an hour)
	$(BIN)/python -m benchmarks.chaos

soak: $(READY)  ## half an hour of mixed company, against a real server: every sum comes out and nothing has grown
	$(BIN)/python -m benchmarks.soak --minutes 30 --clients 5

scaling: $(READY)  ## train and measure a family of DiTs as the paper did, and write docs/scaling-study.md (an hour and a half of one core)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.scaling.page

clean:  ## removes .venv, build and caches
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
