# The targets of the earlier relays. What they do stands in scripts/.

.PHONY: run build test release image check-deploy clean

# The relay, with the config.yaml of this repository: make run ARGS="--port 9000"
run:
	scripts/start $(ARGS)

build:
	cargo build --release --locked -p corecast -p loadgen

# Everything that CI checks.
test:
	scripts/test

# Static binaries for Linux on x86-64 and arm64, in dist/.
release:
	scripts/release

# A container image of this machine's architecture.
image:
	docker build --tag corecast:local --build-arg BUILD_COMMIT=$$(git rev-parse --short=12 HEAD) .

# Everything under deploy/, as far as the tools of this machine allow.
check-deploy:
	scripts/check-deploy

clean:
	cargo clean
	rm -rf dist
