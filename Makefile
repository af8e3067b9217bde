VENV := .venv
# what the package and the demo need; what tests, linters, benchmarks and the documentation need beside that
READY := $(VENV)/.ready
TESTS := $(VENV)/.tests
OTHERS := $(VENV)/.others
APPS := $(VENV)/.apps
CLUSTER := $(VENV)/.cluster

.PHONY: demo demo-jobs help dist test test-all test-apps test-cluster jobs-soak interop faults faults-soak lint format docs screenshot screenshot-wordpress bench bench-quick bench-jobs bench-report bench-guard bench-baseline measure traffic venv clean fuzz

demo: $(READY)  ## run the main job: real PHP jobs on a private PHP-FPM
	@mkdir -p build
	$(VENV)/bin/fcgi-async demo --json build/demo.json
	$(VENV)/bin/python -m docs.timeline build/demo.json build/demo-timeline.svg
	@echo "build/demo-timeline.svg shows each job on its worker"

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-21s %s\n", $$1, $$2 }' Makefile

demo-jobs: $(READY)  ## put 1,000 durable jobs, kill their worker in the middle, and count what was lost and what ran twice
	$(VENV)/bin/python docs/examples/killed_worker/demo.py

# each with a PHP-FPM of its own; a file's tests stay together, and so do the fixtures that they share. 0: all in one.
# By default files with few tests come last, and these are the slowest: one process would be left with one of them.
PROCESSES := 3
# tests start commands some hundred times; without this each would compile what it imports anew
unexport PYTHONDONTWRITEBYTECODE
SUITE := $(VENV)/bin/python -m pytest -n $(PROCESSES) --dist=loadfile --no-loadscope-reorder

# more than there are cores, because many of its tests wait
test: PROCESSES := 5
test: $(OTHERS)  ## run the test suite against a real PHP-FPM, and servers and clients of others: five to seven minutes
	$(SUITE) --loops=asyncio -m "not long and not soak and not apps and not cluster"

test-all: $(OTHERS)  ## the same with what takes long, and on every event loop where the loop matters: 11 to 25 minutes
	$(SUITE) -m "not soak and not apps and not cluster"

test-apps: $(OTHERS) $(APPS)  ## serve WordPress, MediaWiki and others, and compare each answer with nginx's
	$(VENV)/bin/python -m pytest tests/apps -m apps

# how often each fault is made, by four clusters at once, which mostly wait
TIMES := 10

test-cluster: $(OTHERS) $(CLUSTER)  ## kill, stop, cut off and switch the servers of clusters under durable jobs, ten times each; as root
	rm -rf build/cluster
	$(VENV)/bin/python -m pytest -n 4 --dist=loadfile tests/cluster -m cluster --times $(TIMES)
	@cat build/cluster/*.md

jobs-soak: $(OTHERS)  ## kill the workers of durable jobs, again and again
	for run in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do $(VENV)/bin/python -m pytest tests/jobs -m soak || exit 1; done

interop: $(OTHERS)  ## see what the servers of others support, and write docs/interop.md
	$(VENV)/bin/python -m pytest -p tests.interop.seen tests/interop --interop-matrix docs/interop.md

FAULTS := $(VENV)/bin/python -m pytest -p tests.fpm.fault_table tests/fpm/test_fault_*.py

faults: $(TESTS)  ## run the fault suite, and write what it saw to docs/faults.md
	$(FAULTS) --fault-table docs/faults.md

faults-soak: $(TESTS)  ## run the fault suite 20 times in random order, on one core and on two
	for run in 1 2 3 4 5 6 7 8 9 10; do taskset -c 0 $(FAULTS) --shuffle 0 && taskset -c 0,1 $(FAULTS) --shuffle 0 || exit 1; done

fuzz: $(TESTS)  ## give the parsers of the wire 250,000 inputs each, in some five minutes on one core, and write their figures into docs/fuzzing.md
	$(VENV)/bin/python -m tests.fuzz --report docs/fuzzing.md

lint: $(TESTS)  ## check format, style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(TESTS)  ## rewrite the sources in the project's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(TESTS)  ## build the documentation as a site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml

screenshot: $(OTHERS)  ## take the picture of the example service anew
	$(VENV)/bin/python -m tests.examples.screenshot docs/images/progress.png

screenshot-wordpress: $(OTHERS) $(APPS)  ## install WordPress in a browser, and take the picture of it anew
	$(VENV)/bin/python -m tests.apps.screenshot docs/images/wordpress.png

# how the suite is told more: make bench BENCH="--before CHECKOUT --hollodotme DIR"
BENCH :=

bench: $(OTHERS)  ## measure what jobs cost beside other ways to run PHP, and write docs/benchmarks.md: ten minutes
	$(VENV)/bin/python -m benchmarks $(BENCH)

bench-quick: $(OTHERS)  ## the same in two minutes, with less of everything, into build/benchmarks
	$(VENV)/bin/python -m benchmarks --quick $(BENCH)

# how it is told more: make bench-jobs DURABLE="--store sqlite --waiting 0"
DURABLE :=

bench-jobs: $(OTHERS)  ## measure durable jobs on each database, beside the same in memory, procrastinate and Messenger: half an hour
	$(VENV)/bin/python -m benchmarks.durable $(DURABLE)

bench-report: $(TESTS)  ## write page and chart anew from the stored figures
	$(VENV)/bin/python -m benchmarks report

bench-guard: $(TESTS)  ## fail if a job takes 5 % more bytecode instructions or calls than it did; a part of make test
	$(VENV)/bin/python -m pytest tests/benchmarks/test_guard.py

bench-baseline: $(TESTS)  ## store how many instructions and calls a job takes now, for bench-guard
	$(VENV)/bin/python -m benchmarks.bytecodes --store

measure: $(OTHERS)  ## measure the site beside the jobs, fan-out, overload, multiplexing and readers that leave
	$(VENV)/bin/python -m benchmarks.scenarios.fan_out_efficiency
	$(VENV)/bin/python -m benchmarks.scenarios.overload
	$(VENV)/bin/python -m benchmarks.scenarios.multiplexing
	$(VENV)/bin/python -m benchmarks.scenarios.gateway
	$(VENV)/bin/python -m benchmarks.scenarios.web_application
	$(VENV)/bin/python -m benchmarks.scenarios.beside_web_traffic
	$(VENV)/bin/python -m benchmarks.scenarios.readers_that_leave

traffic: $(TESTS)  ## ten minutes of a service under traffic, and write what was seen to docs/
	$(VENV)/bin/python -m benchmarks.scenarios.traffic --minutes 10 --json docs/traffic.json

dist: $(TESTS)  ## build the source distribution and the wheel in dist/, and check what PyPI would say of them
	rm -rf dist
	$(VENV)/bin/python -m build --no-isolation
	$(VENV)/bin/python -m twine check --strict dist/*

venv: $(TESTS)  ## only set up: php-fpm, and .venv with what all other targets need

$(READY): pyproject.toml .ci/setup .ci/apt.sh
	.ci/setup $(VENV)
	touch $@

$(TESTS): $(READY)
	.ci/setup $(VENV) dev
	touch $@

$(OTHERS): $(TESTS) .ci/setup-others .ci/apt.sh
	.ci/setup-others
	touch $@

$(APPS): $(TESTS) .ci/setup-apps .ci/apt.sh
	.ci/setup-apps
	touch $@

$(CLUSTER): $(TESTS) .ci/setup-cluster .ci/apt.sh
	.ci/setup-cluster
	touch $@

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
