# Two commands do everything: `make demo` and `make test`. Needs Rust, Node.js and make.

CARGO ?= cargo
ARGS ?=

.PHONY: demo test check fmt rust-test browser-test screenshots bench clean help

help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## The main job end to end on simulated vendors. ARGS="--once --json" runs it headless.
	@$(CARGO) build -q --bin tripline
	@$(CARGO) run -q --bin tripline -- demo $(ARGS)

test: check rust-test browser-test ## Everything: lints, Rust tests, browser tests.

check: ## Format, lints and documentation, warnings as errors.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

rust-test: ## All Rust tests; those in tests/ run the binary.
	$(CARGO) build -q --bin tripline
	$(CARGO) test --workspace --quiet

browser-test: ## The page in a real Chromium against `tripline demo`.
	$(CARGO) build -q --bin tripline
	tests/browser/run

screenshots: ## Takes the pictures of the documentation anew.
	$(CARGO) build -q --bin tripline
	tests/browser/run screenshot.mjs

bench: ## Ratios against a stated baseline measured in the same run.
	$(CARGO) build -q --release --bin tripline
	$(CARGO) run -q --release -p tripline-bench -- $(ARGS)

clean:
	$(CARGO) clean
