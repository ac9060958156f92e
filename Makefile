# `make` alone lists what there is.

.DEFAULT_GOAL := help
# All tests are of the whole workspace with all features, whichever run: what is built once serves all.
TEST := cargo test --locked --workspace --all-features
CLIPPY := cargo clippy --locked --workspace --all-features
# Those with steps of their own, which cargo leaves out where it is to take all targets.
TESTS_APART := stories clients_table proxies observability cluster
.PHONY: help run cluster build test test-clients setup-tests setup-proxies setup-prometheus setup-clients lint docs unit stories clients proxies observability faults measure measure-nats bench bench-most setup-valgrind instructions clean

help: ## List the targets
	@echo "Tidewire. Begin with 'make run'; it needs Rust and a C compiler, and nothing else."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build the hub, start it with a live demonstration, and say which page to open
	@scripts/run

cluster: ## Start a hub of many processes over three NATS servers, to look at and to break
	@scripts/cluster

build: ## Build everything for release
	cargo build --release --locked --workspace

test: setup-tests setup-proxies setup-prometheus lint docs unit stories clients proxies observability faults ## Set up what the tests need, and run every check and test

setup-tests: ## Install what the tests need: Chromium, and the client libraries of other languages
	@scripts/setup-tests

setup-proxies: ## Put the proxies that the tests run into target/: nginx, HAProxy, Caddy, Apache, Envoy
	@scripts/setup-proxies

setup-prometheus: ## Put Prometheus and its promtool, which the tests run, into target/
	@scripts/setup-prometheus

setup-clients: ## Install what test-clients needs beside: Firefox, a newer Node, Rust client libraries
	@scripts/setup-clients

lint: ## Check formatting, and clippy with warnings as errors
	@scripts/step "formatting" cargo fmt --all --check
	@scripts/step "clippy" $(CLIPPY) --all-targets -- -D warnings
	@scripts/step "clippy of the tests with steps of their own" $(CLIPPY) $(TESTS_APART:%=--test %) -- -D warnings

docs: ## Build the API documentation with warnings as errors, and check the documents
	@RUSTDOCFLAGS="-D warnings" scripts/step "API documentation" cargo doc --locked --workspace --no-deps --document-private-items
	@scripts/step "documents" scripts/check-documents
	@scripts/step "dashboards" scripts/dashboards --check

unit: ## Run the tests of the crates, and of the binary alone
	@scripts/step "crates" $(TEST) -- --test-threads 4

stories: ## Run the binary's stories on each backbone: kills, real clients, a real browser (after setup-tests)
	@scripts/step "stories on the embedded log" env HUB_ON=embedded $(TEST) --test stories -- --test-threads 4
	@scripts/step "stories on one NATS server" env HUB_ON=nats $(TEST) --test stories -- --test-threads 4
	@scripts/step "stories on three NATS servers" env HUB_ON=cluster $(TEST) --test stories -- --test-threads 4

clients: ## Run the subscribers of the clients' table that setup-tests installs
	@scripts/step "clients" $(TEST) --test clients_table -- --test-threads 4

test-clients: setup-tests setup-clients ## Run every subscriber of the clients' table, and a page in each browser
	@scripts/step "every client" $(TEST) --test clients_table -- --include-ignored --test-threads 4

proxies: ## Run real proxies before two edges, as the documents and as their defaults have it (after setup-proxies)
	@scripts/step "proxies" $(TEST) --test proxies -- --test-threads 4

observability: ## Look at a hub with a real Prometheus: rules, dashboards, an alert (after setup-prometheus)
	@scripts/step "observability" $(TEST) --test observability -- --test-threads 1

faults: ## Break a cluster in every way we know, and judge what its subscribers saw (needs root, for full disks)
	@scripts/step "faults" $(TEST) --test cluster -- --nocapture

measure: build ## Measure publishing, memory, bad readers, gzip, TLS and HTTP/2 with the release build; prints tables
	TMPDIR=target target/release/loadtest publish
	TMPDIR=target target/release/loadtest memory
	TMPDIR=target target/release/loadtest slow
	TMPDIR=target target/release/loadtest gzip
	TMPDIR=target target/release/loadtest transports

measure-nats: build ## Measure the same on NATS, beside publishing without a hub; a storm; a scale-out; a rolling restart (12 minutes)
	cargo build --release --locked -p tidewire-nats --example raw_publish
	TMPDIR=target target/release/loadtest publish --on nats
	TMPDIR=target target/release/loadtest publish --on nats --replicas 3
	TMPDIR=target target/release/loadtest storm
	TMPDIR=target target/release/loadtest storm --window-events-max 4096
	TMPDIR=target target/release/loadtest scale
	TMPDIR=target target/release/loadtest rollout

bench: ## Judge and measure the edge beside the floor and other servers, and print what has a target (12 minutes; QUICK=1: 3)
	@scripts/bench $(if $(QUICK),--quick)

bench-most: build ## Connect 100,000 clients to six edges on NATS, serve and judge each (2 minutes, 4 GB)
	TMPDIR=target target/release/loadtest most

setup-valgrind: ## Install what counts instructions, from the system's packages
	@scripts/setup-valgrind

instructions: setup-valgrind ## Count the instructions of the hot path, and fail where one operation takes more than its bound
	@scripts/instructions

clean: ## Remove what was built and installed here, but no data
	cargo clean
	rm -rf crates/tidewire/tests/clients/node_modules crates/tidewire/tests/clients/venv
