# Each target sets up .venv by itself when it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: serve test test-slow check demo demo-quality bench chaos clean
.DEFAULT_GOAL := serve

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

serve: $(READY)  ## run the service on the embedded demo models, http://127.0.0.1:8000
	$(BIN)/dit serve

test: $(READY)  ## every test that needs no GPU and few minutes
	$(BIN)/python -m pytest -q

test-slow: $(READY)  ## full-size checkpoints: needs 16 GiB of memory and of disk
	$(BIN)/python -m pytest -q -m slow

check: $(READY)  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/mypy

demo: $(READY)  ## train the two demo models again (about two hours of processor time)
	$(BIN)/python -m models.demo.train

demo-quality: $(READY)  ## measure the demo models: classifier accuracy and Frechet distance over 1,000 images each
	$(BIN)/python -m models.evaluation

bench: $(READY)  ## the pipeline against diffusers' own, then the service against its peers (half an hour)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.bench_pipeline
	$(BIN)/python -m benchmarks.bench_service

chaos: $(READY)  ## overload, disconnects, kills, poison and slow clients, against a real server (a quarter of an hour)
	$(BIN)/python -m benchmarks.chaos

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
