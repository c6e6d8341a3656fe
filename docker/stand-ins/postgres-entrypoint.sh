#!/bin/bash
# What the official image of PostgreSQL does with its variables, as far as SHERS uses them: POSTGRES_USER,
# POSTGRES_DB, POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, PGDATA.
set -euo pipefail

if ((EUID == 0)); then
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres: "$PGDATA" /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
  user=${POSTGRES_USER:-postgres} password=${POSTGRES_PASSWORD:-}
  if [[ -n "${POSTGRES_PASSWORD_FILE:-}" ]]; then password=$(<"$POSTGRES_PASSWORD_FILE"); fi
  [[ -n "$password" ]] || { echo "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2; exit 1; }
  initdb --username="$user" --pwfile=<(printf '%s' "$password") --auth-local=trust --auth-host=scram-sha-256 -D "$PGDATA"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
  if [[ "${POSTGRES_DB:-$user}" != postgres ]]; then createdb -U "$user" "${POSTGRES_DB:-$user}"; fi
  pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec "$@" -c "listen_addresses=*"
