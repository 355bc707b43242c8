# make help lists the targets. Long runs have their own target; the default path stays short.
GO      ?= go
BIN     := bin
LINT    := $(BIN)/golangci-lint
LINT_V  := v2.15.0

.PHONY: help build test check fmt vet lint unit demo bench bench-short clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/millrace and bin/millrace-stage
	$(GO) build -trimpath -o $(BIN)/ ./cmd/...

demo: build ## build everything and run the demo in a fresh folder, to the end
	@.ci/demo

test: vet unit ## what CI runs: vet and every test with the race detector

unit:
	$(GO) test -race -timeout 20m ./...

bench: ## measure: benchmarks of the rooms, then whole processes (half an hour, an idle machine; docs/performance.md)
	$(GO) test -run '^$$' -bench . -benchmem ./schema/... ./workspace/... ./controllers/dispatch/runner
	MILLRACE_BENCH=1 $(GO) test -count 1 -timeout 60m -run '^TestBench$$' -v ./cmd/systemtest

bench-short: ## the same at a size for CI: shows that it measures, not how fast it is
	$(GO) test -run '^$$' -bench . -benchtime 1x ./schema/... ./workspace/... ./controllers/dispatch/runner
	MILLRACE_BENCH=short $(GO) test -count 1 -timeout 20m -run '^TestBench$$' -v ./cmd/systemtest

check: fmt vet lint unit ## before every commit: format, vet, lint, unit tests

fmt: ## fails when a file is not gofmt'ed
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$out" ] || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...

lint: $(LINT) ## golangci-lint, with the import rules of the rooms
	$(LINT) run

$(LINT):
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_V)

clean: ## remove what was built
	rm -rf $(BIN)
