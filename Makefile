# Two commands are all a newcomer needs: `make serve` and `make test`.
# ARGS goes on to the command, such as: make serve ARGS="--port 9000"
# make serve CATALOG=elasticsearch takes candidates from the Elasticsearch that ELASTICSEARCH_URL names, else from one
# that it starts.
SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin
ARGS ?=
CATALOG ?=

.PHONY: help serve test test-all lint types bench bench-peers train evaluate setup setup-elasticsearch setup-release setup-dev lock clean

help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(if $(filter elasticsearch,$(CATALOG)),setup-elasticsearch,setup) ## set up everything and serve real answers on 127.0.0.1:8080
	@exec $(RUN)/racksort serve $(if $(CATALOG),--source $(CATALOG)) $(ARGS)

test: setup-dev ## set up and run the tests
	@scripts/test.sh "not slow" $(ARGS)

test-all: setup-dev ## the same with the slow ones (training, export, parity, serving)
	@$(RUN)/python -m pytest $(ARGS)

lint: setup-dev ## ruff, import rules
	@$(RUN)/ruff check . && $(RUN)/ruff format --check . && $(RUN)/lint-imports --no-cache

types: setup-dev ## mypy, strict
	@$(RUN)/mypy

bench: setup-dev ## requests/s and latencies of the whole path against plain FastAPI + ONNX Runtime
	@$(RUN)/racksort bench $(ARGS)

bench-peers: setup-dev ## the same against Ray Serve, LitServe, BentoML, MLServer and others, each in its own environment
	@$(RUN)/racksort loadtest peers $(ARGS)

train: setup-dev ## train the three models and write a release
	@$(RUN)/racksort train $(ARGS)

evaluate: setup-dev ## ranking quality on held-out weeks against the baselines
	@$(RUN)/racksort evaluate $(ARGS)

setup: $(VENV)/.serve ## what serving needs (no torch)
setup-elasticsearch: $(if $(ELASTICSEARCH_URL),setup,$(VENV)/.elasticsearch) ## and a Java runtime, to start an Elasticsearch
setup-release: $(VENV)/.release ## and what checking, signing and publishing releases needs (no torch)
setup-dev: $(VENV)/.dev ## what development needs: torch, tests, lint

$(VENV)/.serve: requirements/serve.txt requirements/bootstrap.txt pyproject.toml scripts/bootstrap.sh
	@echo "setting up $(VENV)" && scripts/bootstrap.sh requirements/serve.txt && touch $@

$(VENV)/.elasticsearch: requirements/elasticsearch.txt $(VENV)/.serve
	@echo "adding a Java runtime to $(VENV)" && scripts/bootstrap.sh requirements/elasticsearch.txt && touch $@

$(VENV)/.release: requirements/release.txt $(VENV)/.serve
	@echo "adding to $(VENV) what releases need" && scripts/bootstrap.sh requirements/release.txt && touch $@

$(VENV)/.dev: requirements/dev.txt requirements/bootstrap.txt pyproject.toml scripts/bootstrap.sh
	@echo "setting up $(VENV) for development" && scripts/bootstrap.sh requirements/dev.txt && touch $@ $(VENV)/.serve $(VENV)/.elasticsearch $(VENV)/.release

LOCK := $(RUN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_35 \
	--generate-hashes --custom-compile-command "make lock"
PEERS := bentoml litserve mlserver ray
lock: ## resolve the dependencies again
	@$(RUN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(LOCK) pyproject.toml --group build --extra embedded --extra telemetry -c requirements/constraints.in -o requirements/serve.txt
	@$(LOCK) pyproject.toml --group build --extra telemetry -c requirements/serve.txt -o requirements/adapter.txt
	@$(subst 3.11,3.12,$(LOCK)) requirements/triton.in -c requirements/serve.txt -o requirements/triton.txt
	@$(LOCK) pyproject.toml --group build --extra embedded --extra elasticsearch -c requirements/serve.txt -o requirements/elasticsearch.txt
	@$(LOCK) pyproject.toml --group build --extra embedded --extra release -c requirements/serve.txt -o requirements/release.txt
	@$(LOCK) pyproject.toml --group build --extra dev --extra load -c requirements/serve.txt -o requirements/dev.txt
	@$(LOCK) requirements/openapi-client.in -o requirements/openapi-client.txt
	@$(LOCK) requirements/go.in -o requirements/go.txt
	@for peer in $(PEERS); do $(LOCK) requirements/peers/$$peer.in -o requirements/peers/$$peer.txt || exit; done

clean: ## remove everything that was generated
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis
