# Everything one does with Braid. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help setup build demo test interop conformance packetdrill aggregation check fmt lint unit instructions coverage kernel judge judge-selfcheck fuzz sim sim-selfcheck soak bench bench-quick bench-micro deny clean

RELEASE := cargo build --release --quiet -p hag -p hcpe -p braidctl -p braid-link -p flowgen

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## install what is missing with apt, and look for Rust
	@testbed/setup.sh

build: ## build hag, hcpe, braidctl, flowgen and the link emulator, optimised
	@testbed/setup.sh build
	@$(RELEASE)

demo: ## one download and one upload over two access networks at once, between kernels (root)
	@testbed/setup.sh
	@$(RELEASE)
	@python3 -m testbed.lab.demo

test: ## everything: format, lints, unit and property tests, kernel peers, judge, fuzz; prints the time of each part
	@testbed/setup.sh
	@python3 -m testbed.lab.suite

interop: ## one row for each line of docs/requirements.md, over the whole chain (root); ROW=P7-4 runs one
	@testbed/setup.sh
	@$(RELEASE)
	@python3 -m testbed.lab.interop $(ROW)

conformance: ## one row for each rule of docs/conformance.md, by the tests that show it, and rules taken out; ROW=T9 runs one
	@testbed/setup.sh
	@python3 -m testbed.lab.conformance $(ROW)

packetdrill: ## packetdrill's scripts on our stack (root): TOOL=the program, SCRIPTS=a folder; see testbed/packetdrill/README.md
	@cargo build --quiet -p packetdrill
	@python3 -m testbed.lab.packetdrill $(if $(IPV6),--ipv6) $(TOOL) $(SCRIPTS) $(PART)

aggregation: ## what two access networks bring together, against testbed/sim/aggregation.md; CELLS="40/60 ecf" runs some
	@cargo run --release --quiet -p sim --bin braid-aggregation -- $(CELLS)

check: ## does it compile, quickly
	@cargo check --workspace --all-targets

fmt: ## format the code
	@cargo fmt --all

lint: ## formatting and clippy, as errors
	@python3 -m testbed.lab.suite format clippy

unit: ## unit, property and in-memory tests
	@python3 -m testbed.lab.suite unit

instructions: ## instructions of a segment on its way through the box, against those on record
	@python3 -m testbed.lab.suite instructions

coverage: ## the lines of each crate that no test and no simulated network passes through; FILE=path shows those of a file
	@python3 -m testbed.lab.coverage $(FILE)

kernel: ## kernel-peer tests in namespaces (root); NAME=part runs those whose name has it
	@testbed/setup.sh
	@$(RELEASE)
	@python3 -m testbed.lab.tests $(NAME)

judge: ## the capture judge against captures of other stacks
	@python3 -m testbed.lab.suite judge

judge-selfcheck: ## break our packets on purpose: each judge must notice (root)
	@testbed/setup.sh
	@$(RELEASE)
	@python3 -m testbed.lab.selfcheck

fuzz: ## the fuzz targets, for a bounded time
	@python3 -m testbed.lab.suite fuzz

# Overflow checks and assertions are on, as in all that is not a release.
SIM := cargo run --quiet -p sim --bin braid-sim --

sim: ## whole networks in virtual time: SEED=N in full with its frames, SEEDS=a..b a range
	@$(SIM) $(or $(SEED),$(SEEDS),0..2000)

sim-selfcheck: ## take rules of TCP and MPTCP out of the boxes: the simulator must notice each
	@$(SIM) 500..1000 --without all

soak: ## 5 GiB over one connection of either version, so that all numbers come round, and 100,000 seeds of the simulator
	@cargo run --release --quiet -p sim --bin braid-sim -- --octets 5368709120
	@$(SIM) 0..100000

bench: ## every benchmark beside its peers, within 40 minutes, resumable (root); PART=relay runs one anew
	@testbed/setup.sh bench
	@$(RELEASE)
	@cargo build --release --quiet -p bench --examples
	@python3 -m testbed.lab.bench $(PART)

bench-quick: ## the main ratios in memory, in less than a minute once it is built
	@cargo run --release --quiet -p bench --example quick

bench-micro: ## micro-benchmarks by criterion
	@cargo bench -p bench

deny: ## licences and sources of what we depend on (needs cargo-deny)
	@cargo deny check bans licenses sources

clean: ## remove what was built
	@cargo clean
