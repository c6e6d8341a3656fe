FROM debian
# ruleid: secret-in-an-image
ENV API_TOKEN=0123
# ok: secret-in-an-image
ENV SHERS_TOKEN_FILE=/run/secrets/token
# ruleid: image-runs-as-root
USER root
# ok: image-runs-as-root
USER 65532:65532
