# make help lists the targets. Long runs have their own target; the default path stays short.
GO      ?= go
BIN     := bin
LINT    := $(BIN)/golangci-lint
LINT_V  := v2.15.0

.PHONY: help build test test-agents check fmt vet lint unit demo docs soak bench bench-short campaign clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/millrace and bin/millrace-stage
	$(GO) build -trimpath -o $(BIN)/ ./cmd/...

demo: build ## build everything and run the demo in a fresh folder, to the end
	@.ci/demo

test: vet unit ## what CI runs: vet and every test with the race detector

unit:
	$(GO) test -race -parallel 4 -timeout 40m ./...

AGENTS := $(abspath $(BIN))/agents

test-agents: ## run the real agents, installed into bin/agents, against a model server on loopback
	@cmd/agenttest/agents/install $(AGENTS)
	MILLRACE_AGENTS=$(AGENTS) $(GO) test -tags agents -count 1 -parallel 4 -timeout 15m ./cmd/agenttest/...

SEED     ?= 1
FUZZTIME ?= 5m

soak: ## the long runs (an hour or so): kills, random hands, crashes, concurrency, fuzzing; SEED=n for others
	MILLRACE_SOAK_TASKS=50 MILLRACE_SOAK_KILLS=100 MILLRACE_SOAK_SEED=$(SEED) \
	MILLRACE_CRASH_EVERY=1 MILLRACE_CONCURRENT_ROUNDS=10 \
		$(GO) test -race -count 1 -v -timeout 60m -run 'TestSoak|TestCrash|TestConcurrent|TestUpgrade' ./cmd/systemtest
	MILLRACE_PROPERTY_FIRST=$(SEED)000 MILLRACE_PROPERTY_SEEDS=200 MILLRACE_PROPERTY_STEPS=60 \
		$(GO) test -race -count 1 -timeout 120m -run TestProperty ./cmd/systemtest
	$(GO) test -count 1 -timeout 60m -run 'TestFoldEquals' -rapid.checks 20000 ./workspace
	$(GO) test -count 1 -timeout 60m -run 'TestBudgets' -rapid.checks 10000 -rapid.seed $(SEED) ./schema/simulate
	$(GO) test -count 20 -timeout 60m -run 'TestSupervisorKilledAtRandomMoments' ./controllers/dispatch/runner
	@for target in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs grep -hoE '^func Fuzz[A-Za-z]+' | cut -c6-); do \
		dir=$$(grep -rlE "^func $$target\(" --include='*_test.go' . | xargs dirname); \
		echo "fuzz $$target in $$dir"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir || exit 1; \
	done

bench: ## measure: benchmarks of the rooms, then whole processes (half an hour, an idle machine; docs/performance.md)
	$(GO) test -run '^$$' -bench . -benchmem ./schema/... ./workspace/... ./controllers/dispatch/runner
	MILLRACE_BENCH=1 $(GO) test -count 1 -timeout 60m -run '^TestBench$$' -v ./cmd/systemtest

bench-short: ## the same at a size for CI: shows that it measures, not how fast it is
	$(GO) test -run '^$$' -bench . -benchtime 1x ./schema/... ./workspace/... ./controllers/dispatch/runner
	MILLRACE_BENCH=short $(GO) test -count 1 -timeout 20m -run '^TestBench$$' -v ./cmd/systemtest

campaign: ## measure a whole campaign, eight ideas to eight closed roots: once, ×10 (CAMPAIGN_SCALE=100), and with kills
	MILLRACE_CAMPAIGN=1 $(GO) test -count 1 -timeout 180m -run '^TestCampaign$$' -v ./cmd/systemtest

docs: ## write anew what the documentation shows of the code: the tour's output, tables, drawings
	$(GO) test -count 1 ./cmd/millrace -run Docs -update-docs
	$(GO) test -count 1 ./cmd/systemtest -run TestReadmeTour -update

check: fmt vet lint unit ## before every commit: format, vet, lint, unit tests

fmt: ## fails when a file is not gofmt'ed
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$out" ] || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...
	$(GO) vet -tags agents ./cmd/agenttest/...

lint: $(LINT) ## golangci-lint, with the import rules of the rooms
	$(LINT) run

$(LINT):
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_V)

clean: ## remove what was built
	rm -rf $(BIN)
