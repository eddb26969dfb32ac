# Two commands on a fresh Debian 12 or Ubuntu machine: `make demo` and `make test`. The rest is for developers.

SHELL := /bin/bash
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# What the rehearsal fleet needs (image, hosts, network), and the tests (a real sshd and sudo, openssl, a browser).
PACKAGES := mmdebstrap systemd-container iproute2 util-linux mount openssh-client debian-archive-keyring \
	openssh-server sudo curl auditd tmux age openssl \
	chromium fonts-dejavu-core
APT := env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0
FAB := .venv/bin/fab
CHECKED := hivekeys tests docs bench fabfile.py

PIP := .venv/bin/pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --require-hashes -r
OFFLINE := $(if $(DIR),--no-index --find-links $(abspath $(DIR)))

.PHONY: install install-offline install-ansible wheels develop lock system demo test unit soak mutants bench bench-size lint docs dist clean

# Compiled here, since who runs `fab` may not be allowed to write beside it, and would compile at every start.
install: .venv/.installed  ## what hivekeys itself needs, in .venv
	@.venv/bin/python -m compileall -q hivekeys fabfile.py

install-offline:  ## the same from a folder that `make wheels` has filled, without a network: make install-offline DIR=wheels
	@[ -d "$(DIR)" ] || { echo "from which folder? make install-offline DIR=wheels; make wheels DIR=wheels fills one"; exit 2; }
	@$(MAKE) --no-print-directory install DIR='$(DIR)'

.venv/.installed: requirements/runtime.lock requirements/build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "hivekeys needs Python 3.11 or newer, and this is $$($(PYTHON) --version 2>&1); name another: make install PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory venv-package
	$(PYTHON) -m venv .venv
	$(LOCKED) requirements/runtime.lock -r requirements/build.lock --only-binary :all: $(OFFLINE)
	$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

install-ansible: install  ## ansible-inventory beside it, for Ansible's inventories
	$(LOCKED) requirements/ansible.lock $(OFFLINE)

wheels: DIR ?= wheels
wheels:  ## a folder of what `make install` fetches, for a machine like this one (same Python, same architecture) without a network
	@$(PYTHON) -m venv .venv
	.venv/bin/pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: --dest $(DIR) \
		-r requirements/runtime.lock -r requirements/build.lock

develop: .venv/.developed  ## what tests and lint need as well

.venv/.developed: requirements/test.lock .venv/.installed
	$(LOCKED) requirements/test.lock
	@touch $@

# requirements/README.md says which lock is for what.
COMPILE = uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
	$(if $(UPGRADE),--upgrade-package $(UPGRADE)) pyproject.toml
lock:  ## the locks anew from pyproject.toml, by uv: make lock UPGRADE=cryptography
	$(COMPILE) -o requirements/runtime.lock >/dev/null
	$(COMPILE:pyproject.toml=requirements/build.in) -o requirements/build.lock >/dev/null
	$(COMPILE) --extra ansible -c requirements/runtime.lock -c requirements/build.lock -o requirements/ansible.lock >/dev/null
	$(COMPILE) requirements/build.in --extra test -c requirements/runtime.lock -c requirements/build.lock \
		-o requirements/test.lock >/dev/null
	for use in docs dist mutants stores; do \
		$(COMPILE) --extra $$use -c requirements/test.lock -o requirements/$$use.lock >/dev/null || exit; done

.PHONY: venv-package
venv-package:
	$(SUDO) $(APT) update
	$(SUDO) $(APT) install -y python3-venv >/dev/null

system:  ## the Debian packages that the rehearsal fleet needs
	@missing=$$(dpkg-query -W -f '$${Status} $${Package}\n' $(PACKAGES) 2>&1 | grep -v '^install ok installed' || true); \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages: $(PACKAGES)"; \
		$(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends $(PACKAGES) >/dev/null; \
	fi

demo: install system  ## boots a rehearsal fleet as v0.1.0 is run (shim), nginx before it; rotates it, shows the result, takes it down
	@$(SUDO) $(FAB) lab.up --name lab-demo --hives 5 --shape shim --accepts front
	@$(SUDO) $(FAB) install --fleet lab-demo --front; code=$$?; \
	if [ $$code = 0 ]; then $(SUDO) $(FAB) plan --fleet lab-demo; code=$$?; fi; \
	if [ $$code = 0 ]; then $(SUDO) $(FAB) rotate --fleet lab-demo --yes --batch 100% --meter; code=$$?; \
		$(SUDO) $(FAB) report --fleet lab-demo --format html --output lab-demo.html \
			&& echo "the same as a page, with a timeline: lab-demo.html (fab report --format html)"; fi; \
	$(SUDO) $(FAB) lab.down --name lab-demo; exit $$code

test: PACKAGES += zsh fish nginx-light  # completion is tried in real shells, a front with the real nginx
test: PACKAGES += pass gnupg  # and a token taken from a store of secrets
test: develop .venv/.dist .venv/.stores system  ## every test, five at a time, since most wait for hosts; needs root for the rehearsal fleet
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint docs compiled
	$(SUDO) env CI=$(CI) .venv/bin/python -m pytest --numprocesses=5 --dist=loadfile --no-loadscope-reorder

.venv/.stores: requirements/stores.lock .venv/.developed
	$(LOCKED) requirements/stores.lock
	@touch $@

unit: PACKAGES := openssh-client sudo openssl age zsh fish nginx-light
unit: develop system  ## the tests that need no host; some are for root alone
	$(SUDO) env CI=$(CI) .venv/bin/python -m pytest --numprocesses=auto --dist=loadfile tests/unit

# Once, and kept: else each of the six processes that collect the tests would compile all of them for itself.
.PHONY: compiled
compiled: develop
	@$(SUDO) env PYTHONDONTWRITEBYTECODE= .venv/bin/python -m pytest --collect-only --quiet >/dev/null || true

soak: develop system  ## a gigabyte of audit records; a revocation killed at each event; ten thousand random sequences
	$(SUDO) env HIVEKEYS_TRAIL_MIB=1024 HIVEKEYS_KILLED_EVERY=1 .venv/bin/python -m pytest -s \
		tests/unit/host/test_auditing.py tests/lab/test_audit.py tests/lab/test_revocation.py
	HIVEKEYS_SEQUENCES=10000 .venv/bin/python -m pytest tests/sweep/test_model.py

mutants: SAMPLE ?= 30
mutants: SEED ?= 1
mutants: PACKAGES := openssh-client sudo openssl age zsh fish nginx-light
mutants: .venv/.mutants system  ## which changes of the code no fast test notices: make mutants SAMPLE=90 SEED=1 IN=journal,host
	$(SUDO) .venv/bin/python -m bench.mutants --sample $(SAMPLE) --seed $(SEED) $(if $(IN),--packages $(IN))

.venv/.mutants: requirements/mutants.lock .venv/.developed
	$(LOCKED) requirements/mutants.lock
	@touch $@

bench: HOSTS ?= 10
bench: RUNS ?= 5
bench: develop system  ## hivekeys beside other tools on one rehearsal fleet: make bench HOSTS=10 RUNS=5 TOOLS=paramiko,Ansible
	$(SUDO) .venv/bin/python -m bench --hosts $(HOSTS) --runs $(RUNS) --tools '$(TOOLS)'

bench-size: develop  ## what large fleets cost the bastion; the hosts are simulated: make bench-size SIZE="--hosts 1000 --rtt 20"
	.venv/bin/python -m bench.size $(SIZE)

lint: develop
	.venv/bin/ruff check $(CHECKED)
	.venv/bin/ruff format --check $(CHECKED)
	.venv/bin/mypy
	.venv/bin/vermin --quiet --violations --target=3.6- --no-tips hivekeys/host/*.py hivekeys/host/verbs/*.py
	.venv/bin/shellcheck .ci/run bin/* bench/turn.sh bench/tools/*.sh

dist: .venv/.dist  ## wheel, sdist, bill of materials and Debian package in dist/; WHEELS=FOLDER: from what `make wheels` fetched
	bin/dist

.venv/.dist: requirements/dist.lock .venv/.developed
	$(LOCKED) requirements/dist.lock
	@touch $@

docs: .venv/.docs  ## the pages as HTML (docs/_build/html) and as a man page (docs/_build/man); a warning is an error
	.venv/bin/sphinx-build -q -W --keep-going -b html -d docs/_build/read docs docs/_build/html
	@mkdir -p docs/_build/man
	.venv/bin/python -m docs.manual >docs/_build/man/hivekeys.1

.venv/.docs: requirements/docs.lock .venv/.developed
	$(LOCKED) requirements/docs.lock
	@touch $@

clean: install  ## removes rehearsal fleets, their images, and what was built here
	-$(SUDO) $(FAB) lab.down --images
	-$(SUDO) $(FAB) lab.down --name lab-demo
	rm -rf bench/.envs bench-results lab-demo.html dist .venv docs/_build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
