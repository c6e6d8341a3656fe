# Stands in for the official image where no registry can be reached: see scripts/stand-ins.
FROM bookworm
# The context holds the Rust toolchain of the machine that builds, and the authorities that it trusts.
COPY rust /usr/local/rust
COPY ca-certificates.crt /usr/local/rust/ca-certificates.crt
COPY cargo.toml /usr/local/cargo/config.toml
ENV CARGO_HOME=/usr/local/cargo \
    CARGO_HTTP_CAINFO=/usr/local/rust/ca-certificates.crt \
    PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
