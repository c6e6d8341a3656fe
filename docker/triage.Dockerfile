# The service triage: NEWS2 and its alarms. Build from the top of the repository:
#   docker build -f docker/triage.Dockerfile -t shers/triage .
# The stage "build" is the same text in every service's file, so it is built once and shared.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --release --locked --features providers -p shers \
 && strip -o /shers target/release/shers

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="shers-triage" \
      org.opencontainers.image.description="SHERS, NEWS2 and its alarms" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /shers /usr/local/bin/shers
USER 65532:65532
ENV SHERS_SERVICES='["triage"]' \
    SHERS_LISTEN=0.0.0.0:8080 \
    SHERS_LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 CMD ["/usr/local/bin/shers", "health"]
ENTRYPOINT ["/usr/local/bin/shers"]
CMD ["serve"]
