VENV := .venv
READY := $(VENV)/.ready
OTHERS := $(VENV)/.others

.PHONY: demo test test-all jobs-soak interop faults faults-soak lint format docs screenshot bench bench-quick bench-report bench-guard bench-baseline measure traffic venv clean fuzz

demo: $(READY)  ## run the main job: real PHP jobs on a private PHP-FPM
	@mkdir -p build
	$(VENV)/bin/fcgi-async demo --json build/demo.json
	$(VENV)/bin/python -m docs.timeline build/demo.json build/demo-timeline.png

# each with a PHP-FPM of its own; a file's tests stay together, and so do the fixtures that they share. 0: all in one.
PROCESSES := 2
SUITE := $(VENV)/bin/python -m pytest -n $(PROCESSES) --dist=loadfile

test: $(READY) $(OTHERS)  ## run the test suite against a real PHP-FPM, and servers and clients of others: five minutes
	$(SUITE) --loops=asyncio -m "not long and not soak"

test-all: $(READY) $(OTHERS)  ## the same with what takes long, and everything on every event loop: ten minutes
	$(SUITE) -m "not soak"

jobs-soak: $(READY) $(OTHERS)  ## kill the workers of durable jobs, again and again
	for run in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do $(VENV)/bin/python -m pytest tests/jobs -m soak || exit 1; done

interop: $(READY) $(OTHERS)  ## see what the servers of others support, and write docs/interop.md
	$(VENV)/bin/python -m pytest -p tests.interop.seen tests/interop --interop-matrix docs/interop.md

FAULTS := $(VENV)/bin/python -m pytest -p tests.fpm.fault_table tests/fpm/test_fault_*.py

faults: $(READY)  ## run the fault suite, and write what it saw to docs/faults.md
	$(FAULTS) --fault-table docs/faults.md

faults-soak: $(READY)  ## run the fault suite 20 times in random order, on one core and on two
	for run in 1 2 3 4 5 6 7 8 9 10; do taskset -c 0 $(FAULTS) --shuffle 0 && taskset -c 0,1 $(FAULTS) --shuffle 0 || exit 1; done

fuzz: $(READY)  ## give the parsers of the wire 250,000 inputs each, in some five minutes on one core, and write their figures into docs/fuzzing.md
	$(VENV)/bin/python -m tests.fuzz --report docs/fuzzing.md

lint: $(READY)  ## check format, style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(READY)  ## rewrite the sources in the project's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(READY)  ## build the documentation as a site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml

screenshot: $(READY) $(OTHERS)  ## take the picture of the example service anew
	$(VENV)/bin/python -m tests.examples.screenshot docs/images/progress.png

# how the suite is told more: make bench BENCH="--before CHECKOUT --hollodotme DIR"
BENCH :=

bench: $(READY) $(OTHERS)  ## measure what jobs cost beside other ways to run PHP, and write docs/benchmarks.md: ten minutes
	$(VENV)/bin/python -m benchmarks $(BENCH)

bench-quick: $(READY) $(OTHERS)  ## the same in two minutes, with less of everything, into build/benchmarks
	$(VENV)/bin/python -m benchmarks --quick $(BENCH)

bench-report: $(READY)  ## write page, chart and the README's table anew from the stored figures
	$(VENV)/bin/python -m benchmarks report

bench-guard: $(READY)  ## fail if a job takes 5 % more bytecode instructions or calls than it did; a part of make test
	$(VENV)/bin/python -m pytest tests/benchmarks/test_guard.py

bench-baseline: $(READY)  ## store how many instructions and calls a job takes now, for bench-guard
	$(VENV)/bin/python -m benchmarks.bytecodes --store

measure: $(READY) $(OTHERS)  ## measure the site beside the jobs, fan-out, overload, multiplexing and readers that leave
	$(VENV)/bin/python -m benchmarks.scenarios.fan_out_efficiency
	$(VENV)/bin/python -m benchmarks.scenarios.overload
	$(VENV)/bin/python -m benchmarks.scenarios.multiplexing
	$(VENV)/bin/python -m benchmarks.scenarios.beside_web_traffic
	$(VENV)/bin/python -m benchmarks.scenarios.readers_that_leave

traffic: $(READY)  ## ten minutes of a service under traffic, and write what was seen to docs/
	$(VENV)/bin/python -m benchmarks.scenarios.traffic --minutes 10 --json docs/traffic.json

venv: $(READY)  ## only set up: php-fpm and .venv

$(READY): pyproject.toml .ci/setup .ci/apt.sh
	.ci/setup $(VENV)
	touch $@

$(OTHERS): $(READY) .ci/setup-others .ci/apt.sh
	.ci/setup-others
	touch $@

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
