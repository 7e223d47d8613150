# syntax=docker/dockerfile:1
# One static binary in an empty image. Build: docker build -t sluicegate .

# Alpine's toolchain links against musl, statically.
FROM rust:1.95.0-alpine AS build
# The image's own toolchain, without the formatter and linter that rust-toolchain.toml adds.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN apk add --no-cache build-base
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin sluicegate \
 && cp target/release/sluicegate /sluicegate

FROM scratch
COPY --from=build /sluicegate /sluicegate
# Authorities to verify upstreams with are compiled in; a bundle at /etc/ssl/certs adds to them.
USER 65532:65532
ENV SLUICEGATE_CONFIG=/etc/sluicegate/gateway.yaml
EXPOSE 8000 8443 8001
# The same settings as `run` has: it finds the admin listener, or the status listener, by itself.
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s --retries=3 \
    CMD ["/sluicegate", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/sluicegate"]
CMD ["run"]
