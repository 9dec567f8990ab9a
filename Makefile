# holdfast: `make demo` and `make test` are all a fresh Debian 12 machine with Go needs (as root).

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PROGRAM := build/holdfast
LDFLAGS := -s -w -X holdfast/internal/version.stamp=$(VERSION)

# The lab's tests make virtual hosts; everything else runs under the race detector, one package at a time: some wait for
# clusters of several nodes, and two such at once are slow on two cores.
LAB_PACKAGES = $(shell go list ./... | grep -E '/internal/(lab|cli/lab)(/|$$)')
PACKAGES     = $(shell go list ./... | grep -vE '/internal/(lab|cli/lab)(/|$$)')

.PHONY: all setup build test test-race test-sim sim-seeds soak test-lab planted interop demo bench conformance agree lint clean

all: build

setup:
	scripts/setup

build:
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(PROGRAM) ./cmd/holdfast

test: setup build test-race test-sim interop test-lab

test-race:
	CGO_ENABLED=1 go test -race -p 1 -timeout 20m $(PACKAGES)

# The simulator without the race detector (it has one goroutine): named histories, planted bugs, and SIM_SEEDS seeds of
# SIM_EVENTS events and a healed phase in each of SIM_JOBS processes, each seed twice. A failure prints the command that repeats it.
SIM_JOBS   ?= 2
SIM_SEEDS  ?= 1000
SIM_EVENTS ?= 3000
# TestUnbound is the same of a pair without a cluster: UNBOUND_SEEDS seeds of UNBOUND_EVENTS events, a second or so for 15.
UNBOUND_SEEDS  ?= 300
UNBOUND_EVENTS ?= 4000
SIM_TEST ?= TestSim
SIM_RUN = cd internal/sim && seq 1 $(SIM_JOBS) | xargs -P $(SIM_JOBS) -I{} ../../build/sim.test -test.run '^$(SIM_TEST)$$' -test.timeout 24h -first {}$(1)
test-sim:
	CGO_ENABLED=0 go test -count=1 -timeout 20m ./internal/sim
	$(MAKE) sim-seeds

# The seeds alone.
sim-seeds:
	CGO_ENABLED=0 go test -c -o build/sim.test ./internal/sim
	$(call SIM_RUN,000000) -seeds $(SIM_SEEDS) -events $(SIM_EVENTS) -twice
	cd internal/sim && ../../build/sim.test -test.run '^TestUnbound$$' -seeds $(UNBOUND_SEEDS) -events $(UNBOUND_EVENTS) -twice

# make soak [SIM_TEST=TestUnbound] [SOAK_EVENTS=200000000] [SOAK_FIRST=000000000] [SIM_JOBS=2]: so many events in all, over new seeds.
SOAK_EVENTS ?= 200000000
SOAK_FIRST  ?= 000000000
soak:
	CGO_ENABLED=0 go test -c -o build/sim.test ./internal/sim
	$(call SIM_RUN,$(SOAK_FIRST)) -total $$(( $(SOAK_EVENTS) / $(SIM_JOBS) )) -events 8000

# One package at a time: they share the machine's two or more cores with the hosts they make.
test-lab: build
	HOLDFAST_LAB=1 HOLDFAST_PROGRAM=$(CURDIR)/$(PROGRAM) CGO_ENABLED=0 go test -count=1 -p 1 -timeout 40m $(LAB_PACKAGES)

# The histories of all planted bugs (docs/SAFETY.md) on real processes; test-lab plays the brief ones. PLANTED=NAME: one alone.
PLANTED ?=
planted: build
	HOLDFAST_LAB=full HOLDFAST_PROGRAM=$(CURDIR)/$(PROGRAM) CGO_ENABLED=0 go test -count=1 -v -timeout 40m -run '^TestPlantedBugs$$/$(PLANTED)' ./internal/lab/histories

# Replication with the real DRBD 8.4 kernel module in a virtual machine, and the front ends ublk and NBD in another. Skips,
# and says why, where the kit beside the repository is missing; scripts/setup-interop makes what else is needed.
# INTEROP=full: the long versions.
INTEROP ?= short
interop:
	HOLDFAST_INTEROP=$(INTEROP) CGO_ENABLED=0 go test -count=1 -timeout 60m $(if $(filter full,$(INTEROP)),-v) ./internal/block/interop

# make demo [REPORT=FILE] [KEEP=1]
demo: setup build
	$(PROGRAM) lab demo $(if $(REPORT),--report '$(REPORT)') $(if $(KEEP),--keep)

bench: build
	go test -run '^$$' -bench . -benchmem ./...
	$(PROGRAM) lab bench

# make conformance DATA=DIR: Pacemaker's regression cases (NAME.xml, .exp, .scores, .summary), compared; docs/SCHEDULER.md.
conformance:
	@test -d '$(DATA)' || { echo 'usage: make conformance DATA=DIR, a directory of cases: see docs/SCHEDULER.md' >&2; exit 2; }
	HOLDFAST_CONFORMANCE='$(abspath $(DATA))' CGO_ENABLED=0 go test -count=1 -v -timeout 30m -run '^TestConformance$$' ./internal/cli/simulate

# make agree: what we decide for random clusters (FIRST=0, COUNT=500) against the installed crm_simulate; make agree CIBS=DIR:
# for the CIBs of a directory; docs/SCHEDULER.md.
agree:
	@set -e; dir='$(abspath $(CIBS))'; if [ -z "$$dir" ]; then dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	HOLDFAST_WRITE_CIBS="$$dir" FIRST='$(FIRST)' COUNT='$(COUNT)' CGO_ENABLED=0 go test -count=1 -run '^TestWriteRandomClusters$$' ./internal/cluster/scheduler; fi; \
	HOLDFAST_AGREE="$$dir" CGO_ENABLED=0 go test -count=1 -v -timeout 60m -run '^TestAgreement$$' ./internal/cli/simulate

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	go vet ./...

clean:
	rm -rf build
