# shellcheck shell=bash
# The area "cluster" of scripts/test, which sources this file.

# shellcheck source=scripts/lib/postgres.sh
source scripts/lib/postgres.sh
# shellcheck source=scripts/lib/rabbitmq.sh
source scripts/lib/rabbitmq.sh

area_cluster() {
  cluster_postgres || failed=$((failed + 1))
  cluster_rabbitmq || failed=$((failed + 1))
  cluster_gateway || failed=$((failed + 1))
  cluster_house || failed=$((failed + 1))
}

# The whole house over servers of its own, which it stops, kills and restarts; given ones are never used here.
cluster_house() {
  need postgresql nginx-light gettext-base curl python3 openssl || return 1
  need_unstarted rabbitmq-server || return 1
  cargo_tests "the house over many processes" cargo test -p shers --test cluster --quiet -- --nocapture --test-threads=1
}

# The gateway: the real nginx before stand-ins, and before the real binary.
cluster_gateway() {
  need nginx-light gettext-base || return 1
  cargo_tests "the gateway" cargo test -p shers --test gateway --quiet
}

# The store on PostgreSQL: a server of its own, or the one that SHERS_TEST_DATABASE_URL names.
cluster_postgres() {
  if [[ -n "${SHERS_TEST_DATABASE_URL:-}" ]]; then
    cargo_tests "stores on the given PostgreSQL" cargo test -p shers-db --quiet
    return
  fi
  need postgresql openssl python3 || return 1
  local dir
  dir=$(mktemp -d)
  on_exit+=("postgres_stop $dir immediate" "rm -rf $dir")
  postgres_start "$dir" || return 1
  SHERS_TEST_DATABASE_URL=$POSTGRES_URL SHERS_TEST_DATABASE_TLS=$dir/tls \
    SHERS_TEST_DATABASE_RESTART="source scripts/lib/postgres.sh; postgres_restart $dir" \
    cargo_tests "stores on PostgreSQL" cargo test -p shers-db --quiet
  postgres_stop "$dir"
  rm -rf "$dir"
}

# The bridge on RabbitMQ: a broker of its own, or the one that SHERS_TEST_AMQP_URL names (which is not restarted).
cluster_rabbitmq() {
  if [[ -n "${SHERS_TEST_AMQP_URL:-}" ]]; then
    leave_out "restarts of the broker, TLS" "the given broker is not ours to restart"
    cargo_tests "bridge on the given RabbitMQ" cargo test -p shers-bridge
    return
  fi
  need python3 openssl || return 1
  need_unstarted rabbitmq-server || return 1
  local dir
  dir=$(mktemp -d)
  on_exit+=("rabbitmq_stop $dir" "rm -rf $dir")
  rabbitmq_start "$dir" || return 1
  cargo_tests "bridge on RabbitMQ" env SHERS_TEST_AMQP_URL="$(cat "$dir/url")" SHERS_TEST_RABBITMQ_DIR="$dir" \
    cargo test -p shers-bridge
  rabbitmq_stop "$dir"
  rm -rf "$dir"
}
