# shellcheck shell=bash
# A private RabbitMQ from Debian's package: own data, log, cookie, node name, ports and epmd; the system's
# service is not touched. Sourced by scripts that need a broker, and run by tests that restart theirs:
#   rabbitmq.sh start|stop|kill|close-connections DIR
# Everything lies in DIR. After `start`, DIR/url holds the broker's address and, where openssl is there,
# DIR/tls-url and DIR/ca.pem its TLS twin.

RABBITMQ_START_LIMIT_S=180

# The environment of every command of the broker in DIR.
rabbitmq_env() {
  local dir=$1 port epmd dist
  read -r port _ epmd dist <"$dir/ports"
  printf '%s\n' "HOME=$dir" "RABBITMQ_NODENAME=shers-$port@localhost" "RABBITMQ_MNESIA_BASE=$dir/data" \
    "RABBITMQ_LOG_BASE=$dir/log" "RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf" "RABBITMQ_CONF_ENV_FILE=$dir/env.conf" \
    "RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins" "RABBITMQ_DIST_PORT=$dist" "RABBITMQ_PID_FILE=$dir/pid" \
    "ERL_EPMD_PORT=$epmd" "ERL_EPMD_ADDRESS=127.0.0.1" \
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
}

rabbitmq_run() {
  local dir=$1 bin variables; shift
  bin=$(find /usr/lib/rabbitmq/lib -maxdepth 2 -path '*/rabbitmq_server-*/sbin' 2>/dev/null | sort | tail -n 1)
  [[ -n "$bin" ]] || { echo "RabbitMQ is not installed: apt-get install -y rabbitmq-server" >&2; return 1; }
  mapfile -t variables < <(rabbitmq_env "$dir")
  local program=$1; shift
  env "${variables[@]}" "$bin/$program" "$@"
}

rabbitmq_free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
}

# A certificate authority and the broker's certificate, for localhost.
rabbitmq_certificates() {
  local dir=$1
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=SHERS test authority" \
    -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=localhost" \
    -keyout "$dir/server.key" -out "$dir/server.csr" 2>/dev/null
  openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 30 \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n') \
    -out "$dir/server.pem" 2>/dev/null
}

rabbitmq_prepare() {
  local dir=$1 port tls epmd dist
  mkdir -p "$dir/data" "$dir/log"
  rabbitmq_free_ports 4 >"$dir/ports"
  read -r port tls epmd dist <"$dir/ports"
  echo '[].' >"$dir/plugins"
  : >"$dir/env.conf"
  {
    echo "listeners.tcp.1 = 127.0.0.1:$port"
    echo "vm_memory_high_watermark.absolute = 1GiB"
    echo "disk_free_limit.absolute = 100MB"
  } >"$dir/rabbitmq.conf"
  echo "amqp://guest:guest@127.0.0.1:$port/%2f" >"$dir/url"
  if command -v openssl >/dev/null && rabbitmq_certificates "$dir"; then
    {
      echo "listeners.ssl.1 = 127.0.0.1:$tls"
      echo "ssl_options.cacertfile = $dir/ca.pem"
      echo "ssl_options.certfile = $dir/server.pem"
      echo "ssl_options.keyfile = $dir/server.key"
      echo "ssl_options.verify = verify_none"
      echo "ssl_options.fail_if_no_peer_cert = false"
    } >>"$dir/rabbitmq.conf"
    echo "amqps://guest:guest@localhost:$tls/%2f" >"$dir/tls-url"
  fi
}

# Starts the broker in DIR, anew or again, and waits until it can be used.
rabbitmq_start() {
  local dir=$1 epmd
  [[ -f "$dir/ports" ]] || rabbitmq_prepare "$dir"
  read -r _ _ epmd _ <"$dir/ports"
  if ! { [[ -f "$dir/epmd.pid" ]] && kill -0 "$(cat "$dir/epmd.pid")" 2>/dev/null; }; then
    setsid epmd -port "$epmd" -address 127.0.0.1 >"$dir/log/epmd" 2>&1 </dev/null &
    echo $! >"$dir/epmd.pid"
  fi
  rabbitmq_run "$dir" rabbitmq-server >"$dir/log/console" 2>&1 </dev/null &
  if ! rabbitmq_run "$dir" rabbitmqctl wait --timeout "$RABBITMQ_START_LIMIT_S" "$dir/pid" >"$dir/log/wait" 2>&1 ||
    ! rabbitmq_run "$dir" rabbitmqctl await_startup --timeout "$RABBITMQ_START_LIMIT_S" >>"$dir/log/wait" 2>&1; then
    echo "RabbitMQ did not start:" >&2
    tail -n 40 "$dir/log/wait" "$dir/log/console" >&2
    return 1
  fi
}

# Waits until a process has ended; ends it after half a minute.
rabbitmq_ended() {
  local pid=$1
  for _ in $(seq 150); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.2
  done
  kill -KILL "$pid" 2>/dev/null || true
}

# Ends the broker with SIG (TERM or KILL); what it stored stays.
rabbitmq_end() {
  local dir=$1 signal=$2 pid
  [[ -f "$dir/pid" ]] || return 0
  pid=$(cat "$dir/pid")
  kill "-$signal" "$pid" 2>/dev/null || true
  rabbitmq_ended "$pid"
  rm -f "$dir/pid"
}

# Ends the broker and its epmd.
rabbitmq_stop() {
  local dir=$1
  rabbitmq_end "$dir" TERM
  if [[ -f "$dir/epmd.pid" ]]; then
    kill "$(cat "$dir/epmd.pid")" 2>/dev/null || true
    rm -f "$dir/epmd.pid"
  fi
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  set -euo pipefail
  [[ $# -ge 2 ]] || { echo "usage: rabbitmq.sh start|stop|kill|close-connections DIR" >&2; exit 2; }
  case $1 in
    start) rabbitmq_start "$2" ;;
    stop) rabbitmq_end "$2" TERM ;;
    kill) rabbitmq_end "$2" KILL ;;
    close-connections) rabbitmq_run "$2" rabbitmqctl --quiet close_all_connections "closed by a test" ;;
    *) echo "rabbitmq.sh: no command $1" >&2; exit 2 ;;
  esac
fi
