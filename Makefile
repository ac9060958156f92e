# `make` alone lists what there is.

.DEFAULT_GOAL := help
.PHONY: help run build test setup-tests lint docs unit stories measure clean

help: ## List the targets
	@echo "Tidewire. Begin with 'make run'; it needs Rust and a C compiler, and nothing else."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build the hub, start it with a live demonstration, and say which page to open
	@scripts/run

build: ## Build everything for release
	cargo build --release --locked --workspace

test: setup-tests lint docs unit stories ## Set up what the tests need, and run every check and test

setup-tests: ## Install what the tests need: Chromium, and the client libraries of other languages
	@scripts/setup-tests

lint: ## Check formatting, and clippy with warnings as errors
	@scripts/step "formatting" cargo fmt --all --check
	@scripts/step "clippy" cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

docs: ## Build the API documentation with warnings as errors, and check the documents
	@RUSTDOCFLAGS="-D warnings" scripts/step "API documentation" cargo doc --locked --workspace --no-deps --document-private-items
	@scripts/step "documents" scripts/check-documents

unit: ## Run the tests of the crates
	@scripts/step "crates" cargo test --locked --workspace --all-features --exclude tidewire

stories: ## Run the binary's tests: commands, crashes, real clients, a real browser (after setup-tests)
	@scripts/step "stories" cargo test --locked -p tidewire

measure: build ## Measure publishing and memory with the release build; prints tables
	target/release/loadtest publish
	target/release/loadtest memory

clean: ## Remove what was built and installed here, but no data
	cargo clean
	rm -rf crates/tidewire/tests/clients/node_modules crates/tidewire/tests/clients/venv
