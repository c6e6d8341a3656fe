# The gateway: nginx with the configuration of docker/nginx. Build from the top of the repository:
#   docker build -f docker/gateway.Dockerfile -t shers/gateway .
ARG NGINX_IMAGE=nginx:1.28
FROM ${NGINX_IMAGE}
LABEL org.opencontainers.image.title="shers-gateway" \
      org.opencontainers.image.description="SHERS, the one entry point" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY docker/nginx /opt/shers/nginx
USER 65532:65532
ENV SHERS_GATEWAY_LISTEN=8080 \
    SHERS_GATEWAY_RUN_DIR=/tmp
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 \
  CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/health/gateway"]
ENTRYPOINT ["/bin/sh", "/opt/shers/nginx/gateway.sh"]
