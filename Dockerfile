# syntax=docker/dockerfile:1
# One static binary and nothing else, without root.
#
#   docker build --tag corecast --build-arg BUILD_COMMIT=$(git rev-parse --short=12 HEAD) .
#   docker run --publish 8443:8443 corecast
#
# A config.yaml goes to /etc/corecast/config.yaml, where relay and health check look for it; without
# one the defaults hold. Every key has a variable as well.

# Releases put their own binaries in the place of this stage:
#   docker buildx build --platform linux/amd64,linux/arm64 --build-context build=dist .
FROM rust:1.95-alpine AS build
# Alpine keeps no old versions to pin.
# hadolint ignore=DL3018
RUN apk add --no-cache build-base
WORKDIR /src
COPY . .
ARG BUILD_COMMIT=unknown
ARG TARGETARCH=amd64
# Line tables make up five sixths of the binary; the names of functions stay.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# Programs for musl are static without being told.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    BUILD_COMMIT="$BUILD_COMMIT" cargo build --release --locked --package corecast --bin corecast \
    && install -D target/release/corecast "/linux-$TARGETARCH/corecast" \
    && install -d "/linux-$TARGETARCH/state/corecast"

FROM scratch
ARG TARGETARCH=amd64
COPY --from=build /linux-$TARGETARCH/corecast /corecast
# The one folder that it may write to, for a journal of delayed pushes: a new volume there becomes its.
COPY --from=build --chown=65532:65532 /linux-$TARGETARCH/state/ /var/lib/
WORKDIR /etc/corecast
USER 65532:65532
EXPOSE 8443 9090
# It asks /livez of the admin port that config and environment name. Flags of the relay it does not
# see: where one moves that port, the URL has to be an argument here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/corecast", "--health-check"]
ENTRYPOINT ["/corecast"]
