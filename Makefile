# Two commands: `make run` and `make test`. `make` lists the others.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The package as it is installed, for tools that look for a package in one folder.
SOURCE := $(VENV)/source
PIP := $(BIN)/pip --quiet --disable-pip-version-check --no-input
# Debian packages whose programs the tests run, each with a program (or a file) that shows that it is installed.
TOOLS := docker-cli:docker docker-registry:docker-registry skopeo:skopeo mmdebstrap:mmdebstrap openssl:openssl nginx-light:nginx docker.io:dockerd \
	docker-compose:docker-compose docker-buildx:docker-buildx \
	pipx:pipx git:git buildah:buildah netavark:netavark nodejs:node npm:npm prometheus:prometheus postgresql:initdb pgbouncer:pgbouncer \
	chromium:chromium chromium-driver:chromedriver fonts-dejavu-core:/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
MISSING := $(strip $(foreach tool,$(TOOLS),$(if $(shell PATH="$$PATH:/usr/sbin:/usr/libexec/docker/cli-plugins:/usr/lib/podman:$(lastword $(wildcard /usr/lib/postgresql/*/bin))" command -v $(lastword $(subst :, ,$(tool)))),,$(firstword $(subst :, ,$(tool))))))
# moby's description of its API. The package is only unpacked: its dependencies are a tree of Go sources.
API_PACKAGE := golang-github-docker-docker-dev
API_FILE := usr/share/gocode/src/github.com/docker/docker/api/swagger.yaml
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0
PYTEST := $(BIN)/python -m pytest -q
# Twice as many processes as cores: half of the time a test waits for a server or a client. A module's tests share its servers.
WORKERS := -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN || echo 2) * 2))) --dist loadfile --no-loadscope-reorder

# Some images of Python forbid to write compiled modules. Every process that a test starts would compile hundreds of them again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run cluster test matrix check unit conformance tools coverage format documents screenshots dist clean
.DELETE_ON_ERROR:

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run ## install, migrate the database and serve on ./var/stowage.sock
	@exec $(BIN)/stowage serve

cluster: $(VENV)/test tools ## run PostgreSQL, an S3 server, two nodes and nginx on this machine, with data in ./var/cluster
	@exec $(BIN)/python -m benchmarks.cluster

test: tools check $(VENV)/docker-api.yaml ## run every check and test
	$(PYTEST) $(WORKERS)

matrix: $(VENV)/test tools $(VENV)/docker-api.yaml ## the tests that `make test` leaves out: rare combinations
	$(PYTEST) $(WORKERS) -m matrix

check: $(VENV)/test ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(SOURCE) && mkdir -p $(SOURCE)/stowage && ln -s $(addprefix $(CURDIR)/,$(wildcard stowage/*.py) app blueprints services) $(SOURCE)/stowage
	$(BIN)/mypy
	cd $(SOURCE) && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --no-cache --config $(CURDIR)/setup.cfg

unit: $(VENV)/test ## the fast tests
	$(PYTEST) $(WORKERS) --ignore=tests/conformance

conformance: $(VENV)/test tools $(VENV)/docker-api.yaml ## the tests with real clients, registries and servers
	$(PYTEST) $(WORKERS) tests/conformance

tools: ## install the programs that the tests need (as root), or list the missing ones
ifneq ($(MISSING),)
	@{ [ "$$(id -u)" = 0 ] && $(APT) update && $(APT) install -y --no-install-recommends $(MISSING); } \
	|| echo "Tests that need these Debian packages are skipped: $(MISSING)"
endif

$(VENV)/docker-api.yaml: | $(BIN)/pip
	@cd $(VENV) && { [ "$$(id -u)" != 0 ] || $(APT) update; } && $(APT) -o APT::Sandbox::User=root download $(API_PACKAGE) \
	&& dpkg-deb --fsys-tarfile $(API_PACKAGE)_*.deb | tar -xO ./$(API_FILE) > $(@F) && rm $(API_PACKAGE)_*.deb \
	|| { rm -f $(@F); echo "Tests that need this Debian package are skipped: $(API_PACKAGE)"; }

coverage: $(VENV)/test ## branch coverage of the fast tests
	$(PYTEST) -n auto --ignore=tests/conformance --cov --cov-report=term

format: $(VENV)/test ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

documents: $(VENV)/run ## write the documents that are generated from the code
	$(BIN)/python -m stowage.app.documents

screenshots: $(VENV)/test tools ## take the pictures of the page in docs/images, with Debian's mmdebstrap and a registry on loopback
	$(BIN)/python -m benchmarks.screenshots

dist: $(VENV)/dist ## build dist/ from the last commit: wheel, sdist, stowage.pyz, SHA256SUMS
	@BIN=$(BIN) .ci/make-dist

clean: ## remove the virtual environment, dist/ and caches, not the store
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage *.egg-info

$(BIN)/pip:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || if [ "$$(id -u)" = 0 ]; then $(APT) update && $(APT) install -y --no-install-recommends python3-venv; \
	else echo "Python's venv is missing: run 'apt-get install python3-venv' as root, then this again." >&2; exit 1; fi
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: $(BIN)/pip setup.cfg pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/test: $(BIN)/pip setup.cfg pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[dist,test]'
	@touch $@ $(VENV)/run $(VENV)/dist

$(VENV)/dist: $(BIN)/pip setup.cfg pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[dist]'
	@touch $@ $(VENV)/run
