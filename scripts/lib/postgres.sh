# shellcheck shell=bash
# A private PostgreSQL server: its own directory, port and socket, loopback only. Sourced by scripts that need
# one; they install Debian's packages postgresql, openssl and python3 first.
#
#   postgres_start DIR [PORT]   makes a server in DIR (a free port when none is named) and starts it; sets
#                               POSTGRES_URL (of an empty database "shers"), POSTGRES_PORT and POSTGRES_PID.
#                               It offers TLS: DIR/tls/ca.crt signed its certificate, which names localhost
#   postgres_stop DIR           stops it, by its id, and waits until it is gone
#   postgres_restart DIR [MODE] stops it (fast, immediate) and starts it again
#
# PostgreSQL refuses to run as root: as root everything is done as the user "postgres" of Debian's package.

postgres_bin() {
  local bin newest=""
  for bin in /usr/lib/postgresql/*/bin; do [[ -x "$bin/initdb" ]] && newest=$bin; done
  [[ -n "$newest" ]] || { echo "postgres: no server below /usr/lib/postgresql; install the package postgresql" >&2; return 1; }
  echo "$newest"
}

# Runs as a user who may run a server, in a directory that user can see.
postgres_as() {
  if ((EUID == 0)); then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

postgres_free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Two authorities that nobody else knows, and a certificate of the first for localhost.
postgres_certificates() {
  local tls=$1 name
  mkdir -p "$tls"
  for name in ca other; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=SHERS test $name" \
      -keyout "$tls/$name.key" -out "$tls/$name.crt" 2>/dev/null || return 1
  done
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
    -keyout "$tls/server.key" -out "$tls/server.csr" 2>/dev/null || return 1
  printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' >"$tls/server.ext"
  openssl x509 -req -in "$tls/server.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" -CAcreateserial -days 30 \
    -extfile "$tls/server.ext" -out "$tls/server.crt" 2>/dev/null || return 1
  chmod 755 "$tls"; chmod 644 "$tls"/*.crt; chmod 600 "$tls"/*.key
  if ((EUID == 0)); then chown -R postgres: "$tls"; fi
}

postgres_start() {
  local dir=$1 port=${2:-} bin
  bin=$(postgres_bin) || return 1
  [[ -n "$port" ]] || port=$(postgres_free_port)
  mkdir -p "$dir"
  if ((EUID == 0)); then chown postgres: "$dir"; chmod 711 "$dir"; fi
  postgres_as "$bin/initdb" --pgdata="$dir/data" --username=shers --auth=trust --encoding=UTF8 --locale=C \
    --no-instructions >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; return 1; }
  postgres_certificates "$dir/tls" || { echo "postgres: openssl made no certificates" >&2; return 1; }
  # The settings that durability rests on keep their defaults.
  {
    echo "ssl = on"
    echo "ssl_cert_file = '$dir/tls/server.crt'"
    echo "ssl_key_file = '$dir/tls/server.key'"
    echo "listen_addresses = '127.0.0.1'"
    echo "port = $port"
    echo "unix_socket_directories = '$dir'"
    echo "max_connections = 200"
    echo "shared_buffers = 128MB"
    echo "max_wal_size = 1GB"
    echo "logging_collector = off"
  } | postgres_as tee -a "$dir/data/postgresql.conf" >/dev/null
  postgres_launch "$dir" || return 1
  postgres_as "$bin/psql" -qX -h "$dir" -p "$port" -U shers -d postgres -c 'CREATE DATABASE shers' || return 1
}

# Starts the server of a directory that is there.
postgres_launch() {
  local dir=$1 bin
  bin=$(postgres_bin) || return 1
  postgres_as "$bin/pg_ctl" --pgdata="$dir/data" --log="$dir/server.log" --wait --timeout=120 start >/dev/null ||
    { tail -n 40 "$dir/server.log" >&2; return 1; }
  { read -r POSTGRES_PID; read -r _; read -r _; read -r POSTGRES_PORT; } < <(postgres_as cat "$dir/data/postmaster.pid")
  # Read by whoever sources this.
  # shellcheck disable=SC2034
  POSTGRES_URL="postgres://shers@127.0.0.1:$POSTGRES_PORT/shers"
  export POSTGRES_PID POSTGRES_PORT POSTGRES_URL
}

postgres_stop() {
  local dir=$1 mode=${2:-fast} bin
  bin=$(postgres_bin) || return 1
  [[ -f "$dir/data/postmaster.pid" ]] || return 0
  postgres_as "$bin/pg_ctl" --pgdata="$dir/data" --mode="$mode" --wait --timeout=120 stop >/dev/null
}

postgres_restart() {
  postgres_stop "$1" "${2:-fast}" && postgres_launch "$1"
}
