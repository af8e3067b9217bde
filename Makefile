VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test lint format docs bench venv clean

demo: $(READY)  ## run the main job: real PHP jobs on a private PHP-FPM
	$(VENV)/bin/fcgi-async demo --timeline demo-timeline.svg

test: $(READY)  ## run the test suite against a real PHP-FPM
	$(VENV)/bin/python -m pytest

lint: $(READY)  ## check format, style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(READY)  ## rewrite the sources in the project's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(READY)  ## write the generated parts of the documentation anew
	$(VENV)/bin/python -m docs.generate

bench: $(READY)  ## measure what the smallest job costs
	$(VENV)/bin/python benchmarks/smallest_job.py

venv: $(READY)  ## only set up: php-fpm and .venv

$(READY): pyproject.toml .ci/setup
	.ci/setup $(VENV)
	touch $@

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) demo-timeline.svg .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
