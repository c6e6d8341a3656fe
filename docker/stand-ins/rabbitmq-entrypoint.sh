#!/bin/bash
# What the official image of RabbitMQ does: step down to its user and run what it is told.
set -euo pipefail

if ((EUID == 0)); then
  chown -R rabbitmq: /var/lib/rabbitmq
  exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" "$@"
fi
exec "$@"
