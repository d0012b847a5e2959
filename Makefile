# make run    start the server on the embedded store        make run ARGS="--port 5000"
# make test   format, lint, types, import contracts, tests   make test ARGS="tests/unit -k lib0"
# Both make a virtual environment in .venv first, and install what it lacks.

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
JOBS ?= 2

.PHONY: run test check format clean

run: $(VENV)/.run
	@$(BIN)/collab-server serve $(ARGS)

test: check
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n $(JOBS) --dist worksteal)

check: $(VENV)/.test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.test
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.run: pyproject.toml constraints.txt
	@sh tools/venv.sh $(VENV) .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	@sh tools/venv.sh $(VENV) '.[test]'
	@touch $(VENV)/.run $@
