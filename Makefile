# Every target installs what it needs first. `make` alone lists them.
SHELL := /bin/bash
PY := .venv/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
INSTALLED := .venv/installed
PYTHON ?= $(shell command -v python3.11 || command -v python3)
DATA ?= .data
COUNT ?= 50
OUTAGE ?= 60
CASES ?= 5000
ERASE ?= 200
MINUTES ?= 10
# Tests keep their databases, brokers and hubs in memory where there is room: a disk syncs slowly.
MEMORY := $(shell test -w /dev/shm && df -k --output=avail /dev/shm 2>/dev/null | \
  awk 'NR == 2 && $$1 > 8000000 {print "/dev/shm"}')
IN_MEMORY := $(if $(MEMORY),export TMPDIR=$$(mktemp -d -p $(MEMORY)); trap 'rm -rf $$TMPDIR' EXIT;)
# Tool and Debian package: Kafka's jars, AsyncAPI's schema and the tutorial's commands need them.
TOOLS := java:default-jre-headless mvn:maven npm:npm node:nodejs curl:curl

UV ?= uv
LOCK = $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
  --no-header --no-strip-extras $(UPGRADE) pyproject.toml
# Old pips (Debian's) want what was asked for with an extra pinned without it, too.
define BARE
/^[^ \#]/ { bare = $$0; sub(/\[[^]]*\]/, "", bare); extra = bare != $$0; printf "%s", held; held = "" }
{ print; if (extra) { line = $$0; sub(/\[[^]]*\]/, "", line); held = held line "\n" } }
END { printf "%s", held }
endef
export BARE

.PHONY: help install demo up test-fast lint schemas test faults month bench locks clean

help: ## List the targets
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Run it

install: $(INSTALLED) ## Everything, into .venv and .cache

demo: $(INSTALLED) ## A day at Petite-Forêt, checked (KAFKA=1: with Apache Kafka between the services)
	.venv/bin/aiguillage demo $(if $(filter 1,$(KAFKA)),--kafka)

up: $(INSTALLED) ## Keep the hub running; data stay in DATA (.data)
	.venv/bin/aiguillage up --data $(DATA)

##@ Change it

test-fast: $(INSTALLED) ## Unit tests and contracts without the slow ones, with few examples: half a minute
	$(PY) -m pytest -q --hypothesis-profile quick -m "not slow and not kafka and not faults" \
	  tests/unit tests/contracts

lint: $(INSTALLED) ## Style, types, import contracts
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo --cache-dir .cache/import_linter

schemas: $(INSTALLED) ## Rewrite what is generated: JSON Schemas, OpenAPI, event reference
	$(PY) -m contracts.tools.publish
	$(PY) -m services.hub.openapi --write
	$(PY) -m contracts.tools.catalogue

ifdef ONLY
test: $(INSTALLED)
	@$(IN_MEMORY) $(PY) -m pytest -q $(if $(wildcard $(firstword $(subst ::, ,$(ONLY)))),$(ONLY),-k "$(ONLY)" tests)
else
test: lint ## Lint, types, import contracts, schemas and every test (ONLY=a path, or words of names)
	$(PY) -m contracts.tools.publish --check
	@$(IN_MEMORY) $(PY) -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder
endif

##@ Try it hard

faults: $(INSTALLED) ## Kill processes, erase under load, let strangers in, stop broker and database (COUNT=50, ERASE=200, MINUTES=10, OUTAGE=60 s, SEED=)
	$(PY) -m tests.faults.campaign --kind embedded --kills $(COUNT) $(if $(SEED),--seed $(SEED))
	$(PY) -m tests.faults.campaign --kind kafka --kills $(COUNT) $(if $(SEED),--seed $(SEED))
	$(PY) -m tests.faults.erasures --kind embedded --erase $(ERASE) $(if $(SEED),--seed $(SEED))
	$(PY) -m tests.faults.erasures --kind kafka --erase $(ERASE) $(if $(SEED),--seed $(SEED))
	$(PY) -m tests.faults.strangers --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))
	OUTAGE_SECONDS=$(OUTAGE) $(PY) -m pytest -q tests/faults/test_outage.py tests/faults/test_sharing.py

month: $(INSTALLED) ## A simulated month of 5,000 cases: what became of each (CASES=5000)
	$(PY) -m tests.e2e.month --cases $(CASES)

bench: $(INSTALLED) ## Measure, beside peers (ONLY=name for one measure)
	@$(PY) -m tests.benchmarks $(ONLY)

##@ Keep house

locks: ## Lock anew what runs it and what develops it (UV=uv; UPGRADE=--upgrade for newer releases)
	$(LOCK) --group build --output-file requirements.lock
	$(LOCK) --group dev --output-file requirements-dev.lock
	@for lock in requirements.lock requirements-dev.lock; do \
	  awk "$$BARE" $$lock > $$lock.part && mv $$lock.part $$lock; done

clean: ## Remove what was installed and cached; data stay
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find contracts infra services tests -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): requirements-dev.lock pyproject.toml
	@mkdir -p .cache
	@$(MAKE) --no-print-directory .tools
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip
	@# the lock is whole: resolving anew would meet releases that came after it
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	$(PIP) check
	$(PY) -m tests.support.asyncapi
	$(PY) -m tests.support.cloudevents_js
	$(PY) -c "from services.hub.demo.kafka_broker import prepare; prepare()" || \
	  echo "Kafka's jars could not be fetched: what needs a broker will say what to install" >&2
	@touch $@

# The bare machine: a recent Python, then what Debian provides, if we may install it.
.PHONY: .tools
.tools:
	@test -n "$(PYTHON)" && $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "Python 3.11 or later is needed (PYTHON=/path/to/python3)" >&2; exit 1; }
	@missing=""; \
	for tool in $(TOOLS); do \
	  command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	$(PYTHON) -c "import ensurepip" 2>/dev/null || missing="$$missing python3-venv"; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
	    --no-install-recommends $$missing >/dev/null || echo "Not installed:$$missing" >&2; \
	else \
	  echo "Missing; as root: apt-get install$$missing" >&2; \
	fi
