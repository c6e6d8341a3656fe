# ruleid: frontend-that-is-pulled
# syntax=docker/dockerfile:1
# ok: frontend-that-is-pulled
# The syntax is Docker's.
FROM debian:bookworm-slim
# ruleid: secret-in-an-image
ENV API_TOKEN=0123
# ok: secret-in-an-image
ENV SHERS_TOKEN_FILE=/run/secrets/token
# ruleid: image-runs-as-root
USER root
# ruleid: image-runs-as-root
USER 0:0
# ruleid: image-runs-as-root
USER nginx
# ok: image-runs-as-root
USER 65532:65532
