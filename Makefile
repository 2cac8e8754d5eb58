# Two commands do everything: `make demo` and `make test`. Needs Rust, Node.js and make.

CARGO ?= cargo
ARGS ?=

.PHONY: demo test check fmt rust-test ui ui-test ui-types browser-test screenshots bench clean help

help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## The main job end to end on simulated vendors. ARGS="--once --json" runs it headless.
	@web/ui/build
	@$(CARGO) build -q --bin tripline
	@$(CARGO) run -q --bin tripline -- demo $(ARGS)

test: ui check rust-test ui-test browser-test ## Everything: lints, Rust tests, tests of the pages, browser tests.

ui: ## Builds the command centre, which cargo then puts into the binary.
	web/ui/build --strict

ui-test: ## Types and component tests of the command centre.
	web/ui/build --install
	cd web/ui && nice npm run --silent check && nice npm test --silent

ui-types: ## Makes the types of the command centre anew from the description of the API.
	TRIPLINE_UPDATE_OPENAPI=1 $(CARGO) test -q -p tripline-web the_types_of_the_page
	web/ui/build --install
	cd web/ui && npm run --silent types

check: ## Format, lints and documentation, warnings as errors.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

rust-test: ## All Rust tests; those in tests/ run the binary.
	$(CARGO) build -q --bin tripline
	$(CARGO) test --workspace --quiet

browser-test: ui ## The pages in a real Chromium against `tripline demo`.
	$(CARGO) build -q --bin tripline
	tests/browser/run

screenshots: ui ## Takes the pictures of the documentation anew.
	$(CARGO) build -q --bin tripline
	tests/browser/run screenshot.mjs

bench: ## Ratios against a stated baseline measured in the same run.
	$(CARGO) build -q --release --bin tripline
	$(CARGO) run -q --release -p tripline-bench -- $(ARGS)

clean:
	$(CARGO) clean
