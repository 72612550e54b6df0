# dayclaude. `make demo` and `make test` set up all that they need.
#
# Time budgets on two cores, cold / warm (a cold machine also downloads):
#   deps      apt packages, Go modules, SDK      3 min / 1 s
#   claude    the pinned Claude Code from npm    1 min / 0 s
#   build     sandboxd for two platforms, and    3 min / 10 s
#             dayclaude
#   image     debootstrap base, slim image       2 min / 1 s
#   lint      gofmt, go vet, golangci-lint       7 min / 1 min
#   test      all tests, with -race             14 min / 12 min
#   demo      after its set-up                     - / 15 s
# .ci/run does deps to test: at most 25 minutes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
GOARCH   := $(shell go env GOARCH)
LDFLAGS  := -s -w
CLAUDE   := .cache/claude-code-$(shell cat snapshot/claude-code.version)/claude
IMAGE    := dayclaude-slim
KILLS    ?= 300
SEED     ?=
LINTER   := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
SOURCES  := $(shell find cmd internal snapshot main.go go.mod -name '*.go' -not -name '*_test.go' -o -name '*.sql' -o -name '*.json' -o -name '*.yaml' -o -name 'go.mod' 2>/dev/null)

.PHONY: help build demo test check lint bench fuzz chaos image test-image deps claude clean

help:
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: dist/dayclaude ## build dist/dayclaude, with sandboxd inside

dist/dayclaude: $(SOURCES) snapshot/bin/sandboxd-linux-amd64 snapshot/bin/sandboxd-linux-arm64
	CGO_ENABLED=0 go build -trimpath -tags embed_sandboxd -ldflags "$(LDFLAGS) -X github.com/dayclaude/dayclaude/cmd.Version=$(VERSION)" -o $@ .

snapshot/bin/sandboxd-linux-%: $(SOURCES)
	@mkdir -p $(@D)
	CGO_ENABLED=0 GOOS=linux GOARCH=$* go build -trimpath -ldflags "$(LDFLAGS) -X main.version=$(VERSION)" -o $@ ./snapshot/sandboxd

claude: $(CLAUDE) ## fetch the pinned Claude Code from npm

$(CLAUDE): snapshot/claude-code.version snapshot/claude-code.sha256
	sh snapshot/fetch-claude-code.sh

demo: build claude ## solve a demo issue on embedded services: no account needed
	@if docker version >/dev/null 2>&1 && ! sh snapshot/image.sh $(IMAGE) snapshot/bin/sandboxd-linux-$(GOARCH); then \
		echo "Docker answers, but the image could not be built: the demo goes on without Docker" >&2; \
	fi
	@PATH="$(abspath $(dir $(CLAUDE))):$$PATH" dist/dayclaude demo

image: build claude ## build the slim image for --local: dayclaude-slim
	sh snapshot/image.sh $(IMAGE) snapshot/bin/sandboxd-linux-$(GOARCH)

test-image: build claude
	sh snapshot/image.sh $(IMAGE):test snapshot/bin/sandboxd-linux-$(GOARCH)

deps: ## install what the tests need (root on Debian), or say what is missing
	@bash .ci/deps

test: deps build claude ## run all tests, starting a Docker engine if none runs
	@bash .ci/with-docker make --no-print-directory test-image check

check: # the tests alone, the longest first; many of them wait for services that are away
	go test -race -parallel 8 -tags embed_sandboxd -timeout 25m ./internal/e2e ./...

lint: ## check format, go vet, and the layers
	@test -z "$$(gofmt -l cmd internal snapshot main.go)" || { gofmt -l cmd internal snapshot main.go; exit 1; }
	go vet ./...
	go run $(LINTER) run

bench: build claude ## measure against the real things, in one run
	@bash .ci/with-docker make --no-print-directory test-image bench-run

bench-run:
	go run -tags embed_sandboxd ./internal/bench

FUZZTIME ?= 30s
chaos: build ## kill and break at random, KILLS (300) times; SEED repeats one
	DAYCLAUDE_CHAOS_KILLS=$(KILLS) DAYCLAUDE_CHAOS_SEED=$(SEED) go test -race -tags embed_sandboxd -count 1 -parallel 6 -timeout 90m -v -run '^TestChaos$$' ./internal/e2e

fuzz: ## run each fuzz target for FUZZTIME (30s)
	@grep -roE --include='*_test.go' '^func Fuzz\w+' internal | while IFS=: read -r file target; do \
		go test -run '^$$' -fuzz "^$${target#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s "./$${file%/*}" </dev/null; \
	done

clean:
	rm -rf dist snapshot/bin
