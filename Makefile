# What a developer does here, one word each. `make test` needs Go and nothing
# else; `make interop` installs what it needs (Debian or Ubuntu, root or sudo).

GO ?= go

# Helpers are pinned here and built apart, so that they never enter go.mod. The
# version is part of the file's name: a new version is built by itself.
GOLANGCI_VERSION := v2.15.0
GOLANGCI := bin/tools/golangci-lint-$(GOLANGCI_VERSION)

# The race detector needs a C compiler.
HAVE_CC := $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo yes)

FUZZTIME ?= 30s

# An image needs podman, or docker where there is no podman: ENGINE="sudo docker"
# says another. The same source makes the same layer, and with IMAGE_FORMAT=oci
# the same image; only docker's format can hold a health check.
ENGINE ?= $(or $(shell command -v podman),docker)
ARCH ?= $(shell $(GO) env GOARCH)
IMAGE ?= localhost/fieldseal
IMAGE_FORMAT ?= docker
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
PODMAN_FLAGS = --format $(IMAGE_FORMAT) --layers=false --timestamp $(SOURCE_DATE_EPOCH)

.PHONY: all demo build image test interop lint fmt check bench fuzz vectors clean

all: build

demo: ## a simulated plant, a gateway and a consumer in one process; DEMO="-uplink dtls" over a hub
	$(GO) run ./cmd/demo $(DEMO)

build: ## the program, without cgo, the same bytes for the same source
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/fieldseal ./cmd/fieldseal

image: ## the program as a container image; ARCH=arm64 for another machine
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) $(GO) build -trimpath -ldflags '-s -w' -o bin/image/$(ARCH)/fieldseal ./cmd/fieldseal
	$(ENGINE) build --platform linux/$(ARCH) --network none $(if $(findstring podman,$(ENGINE)),$(PODMAN_FLAGS)) --tag $(IMAGE) .

test: ## all that needs nothing but Go
	$(GO) vet ./...
	$(GO) vet -tags interop ./integration/interop/...
ifeq ($(HAVE_CC),yes)
	$(GO) test -race -timeout 20m ./...
else
	@echo "no C compiler ($$($(GO) env CC)): the tests run without the race detector"
	$(GO) test -timeout 20m ./...
endif

interop: ## against the programs of others; installs them first
	./integration/interop/install.sh
	$(GO) test -tags interop -race -count=1 -timeout 20m -v ./integration/interop/...

lint: $(GOLANGCI) ## linters and gofumpt
	$(GOLANGCI) config verify
	$(GOLANGCI) run

fmt: $(GOLANGCI) ## format in place
	$(GOLANGCI) fmt

check: lint test interop ## what has to pass before a change lands

bench: ## ns and bytes per operation
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz: ## each fuzz target in turn, FUZZTIME each
	@set -e; for package in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); \
		for target in $$targets; do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

vectors: ## write the test vectors of the wire format anew
	$(GO) test ./bridge/envelope -run '^TestVectors$$' -args write

clean: ## what was built, but for the helpers
	rm -rf bin/fieldseal bin/image

$(GOLANGCI):
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/$(@D) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(@D)/golangci-lint $@
