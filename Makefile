# Everything a developer runs. `make` lists it.
.DEFAULT_GOAL := help
.PHONY: help install lock demo up lint format types test test-all promises mutants chaos soak audit-dependencies throughput rows sample docs clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1|/' | column -t -s '|'

install: $(VENV)/.installed  ## make .venv with the pinned dependencies

$(VENV)/.installed: requirements/torch.txt requirements/dev.txt requirements/torchattacks.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sparring needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	@echo "Making $(VENV) (torch and about 100 packages; a few minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements/torch.txt
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --no-deps --require-hashes -r requirements/torchattacks.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

lock:  ## write requirements/*.txt again from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" --extra server pyproject.toml -o requirements/server.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" --extra server --extra dev -c requirements/server.txt pyproject.toml -o requirements/dev.txt

demo: install  ## the whole product in small: start everything, run presets/demo.yaml, show its results, stop
	@$(BIN)/python -m local.demo

up: install  ## run everything on this machine until Ctrl-C
	@$(BIN)/sparring up

lint: install  ## ruff, import rules, Dockerfile, compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports > .lint-imports.txt || { cat .lint-imports.txt; exit 1; }
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: install  ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install  ## mypy, strict
	$(BIN)/mypy

test: install  ## the default suite: real Postgres, real broker, real processes; about ten minutes on two cores
	$(BIN)/pytest

test-all: install  ## with the slow tests too
	$(BIN)/pytest -m "not gpu"

promises: install  ## try what is promised as often as promised, and write docs/reference/promises; ONLY=P5,P6
	$(BIN)/python tests/promises/keep.py $(ONLY)

mutants: install  ## do the tests bite? faults put into what the promises rest on, one by one; ONLY=store/jobs.py, SHARE=0.2 of them
	$(BIN)/python tests/promises/bite.py "$(ONLY)" $(or $(SHARE),1)

chaos: install  ## everything that may go wrong, at once, for MINUTES (60)
	$(BIN)/python tests/promises/chaos.py $(or $(MINUTES),60)

audit-dependencies:  ## known faults in what is pinned; needs the internet, and fails where it can ask nobody
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	$(VENV)-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/dev.txt -r requirements/torchattacks.txt
	$(VENV)-audit/bin/pip-audit --strict --disable-pip --no-deps -r requirements/torch.txt

soak: install  ## does the service stay as it is? short jobs in a loop for MINUTES, and what has grown
	PYTHONPATH=. $(BIN)/python benchmarks/soak.py $(or $(MINUTES),60)

throughput: install  ## images a second of adversarial training; DATA=folder with CIFAR-10
	$(BIN)/python benchmarks/throughput.py $(or $(DATA),data)

rows: install  ## run the rows of published tables that two cores can do and that have not been run; DATA=folder, PRESETS=names
	$(BIN)/python benchmarks/rows.py $(or $(DATA),data) $(PRESETS)

sample: install  ## make the shipped sample of Fashion-MNIST again; DATA=folder with Fashion-MNIST
	$(BIN)/python core/datasets/sample/make.py $(or $(DATA),data)

docs: install  ## write the generated pages of docs/reference again
	$(BIN)/python docs/generate.py

clean:  ## remove what was built, not what was kept (.sparring)
	rm -rf $(VENV) $(VENV)-audit .mypy_cache .ruff_cache .pytest_cache .hypothesis .lint-imports.txt
