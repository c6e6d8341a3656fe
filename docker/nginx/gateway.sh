#!/bin/sh
# Writes the gateway's configuration from the environment, checks it, and becomes nginx. See --help.
set -eu

usage() {
  cat <<'TEXT'
usage: docker/nginx/gateway.sh [--render]

Writes nginx.conf into SHERS_GATEWAY_RUN_DIR, checks it, and runs nginx in the foreground as whoever calls.
With --render it stops after the check.

Environment (and what holds without it):
  SHERS_GATEWAY_LISTEN            address and port (8080)
  SHERS_GATEWAY_RUN_DIR           the one directory that is written to (/tmp)
  SHERS_GATEWAY_TEMPLATES         directory of the templates (templates/ beside this script)
  SHERS_GATEWAY_WEARABLE          host:port of the service's processes, several separated by spaces
  SHERS_GATEWAY_TRIAGE, _INCIDENTS, _DISPATCH, _BILLING, _INSURANCE, _STREAM   likewise
                                  (the service's name, port 8080)
  SHERS_GATEWAY_RESOLVER          address of a name server: names are then looked up again as they expire,
                                  so that replicas may come and go; one name a service (none: looked up once)
  SHERS_GATEWAY_REQUESTS_PER_S    requests a second of one address (500)
  SHERS_GATEWAY_REQUEST_BURST     above that, at once (1000)
  SHERS_GATEWAY_CONNECTIONS       connections of one address (500)
  SHERS_GATEWAY_BODY              largest body, in nginx's notation (4m, as the services' web.body_bytes)
  SHERS_GATEWAY_READ_S            seconds a service may take (40)
  SHERS_GATEWAY_TRUSTED_PROXIES   networks whose X-Forwarded-For is believed, separated by spaces (none)
  SHERS_GATEWAY_TLS_CERTIFICATE   file of a certificate chain, with
  SHERS_GATEWAY_TLS_KEY           the file of its key: TLS is spoken (plain HTTP)
  SHERS_GATEWAY_ACCESS_LOG        where requests are logged (/dev/stdout)
  SHERS_GATEWAY_ERROR_LOG         where trouble is logged (stderr)
  SHERS_GATEWAY_WORKERS           worker processes (auto)
  SHERS_GATEWAY_NGINX             the program (nginx)
TEXT
}

fail() { echo "gateway: $*" >&2; exit 1; }

# Refuses a value that could end the directive it goes into.
plain() {
  case "$2" in *[!A-Za-z0-9.:_\ \[\]-]* | '') fail "$1: '$2' is no list of host:port" ;; esac
}

case "${1:-}" in
  --help | -h) usage; exit 0 ;;
  '' | --render) ;;
  *) usage >&2; exit 2 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
nginx=${SHERS_GATEWAY_NGINX:-nginx}
templates=${SHERS_GATEWAY_TEMPLATES:-$here/templates}
export SHERS_GATEWAY_LISTEN="${SHERS_GATEWAY_LISTEN:-8080}"
export SHERS_GATEWAY_RUN_DIR="${SHERS_GATEWAY_RUN_DIR:-/tmp}"
export SHERS_GATEWAY_REQUESTS_PER_S="${SHERS_GATEWAY_REQUESTS_PER_S:-500}"
export SHERS_GATEWAY_REQUEST_BURST="${SHERS_GATEWAY_REQUEST_BURST:-1000}"
export SHERS_GATEWAY_CONNECTIONS="${SHERS_GATEWAY_CONNECTIONS:-500}"
export SHERS_GATEWAY_BODY="${SHERS_GATEWAY_BODY:-4m}"
export SHERS_GATEWAY_READ_S="${SHERS_GATEWAY_READ_S:-40}"
export SHERS_GATEWAY_ACCESS_LOG="${SHERS_GATEWAY_ACCESS_LOG:-/dev/stdout}"
export SHERS_GATEWAY_ERROR_LOG="${SHERS_GATEWAY_ERROR_LOG:-stderr}"
export SHERS_GATEWAY_WORKERS="${SHERS_GATEWAY_WORKERS:-auto}"

command -v "$nginx" >/dev/null || fail "$nginx is missing; install the package nginx"
command -v envsubst >/dev/null || fail "envsubst is missing; install the package gettext-base"

# Each service's processes: a group that nginx balances, or a name that it keeps looking up.
SHERS_GATEWAY_UPSTREAMS='' SHERS_GATEWAY_RESOLVING=''
if [ -n "${SHERS_GATEWAY_RESOLVER:-}" ]; then
  plain SHERS_GATEWAY_RESOLVER "$SHERS_GATEWAY_RESOLVER"
  SHERS_GATEWAY_RESOLVING="resolver $SHERS_GATEWAY_RESOLVER valid=10s;"
fi
for service in wearable triage incidents dispatch billing insurance stream; do
  upper=$(echo "$service" | tr '[:lower:]' '[:upper:]')
  eval "addresses=\${SHERS_GATEWAY_$upper:-$service:8080}"
  # Set by the line above.
  # shellcheck disable=SC2154
  plain "SHERS_GATEWAY_$upper" "$addresses"
  if [ -n "$SHERS_GATEWAY_RESOLVING" ]; then
    case "$addresses" in *' '*) fail "SHERS_GATEWAY_$upper: with a resolver it is one name" ;; esac
    backend=$addresses
  else
    backend=shers_$service
    servers=''
    for address in $addresses; do servers="$servers server $address max_fails=3 fail_timeout=2s;"; done
    SHERS_GATEWAY_UPSTREAMS="$SHERS_GATEWAY_UPSTREAMS
  upstream $backend { zone $backend 64k; least_conn;$servers keepalive 64; }"
  fi
  export "SHERS_GATEWAY_BACKEND_$upper=$backend"
done

SHERS_GATEWAY_REAL_IP=''
for network in ${SHERS_GATEWAY_TRUSTED_PROXIES:-}; do
  case "$network" in *[!0-9a-fA-F.:/]*) fail "SHERS_GATEWAY_TRUSTED_PROXIES: '$network' is no network" ;; esac
  SHERS_GATEWAY_REAL_IP="$SHERS_GATEWAY_REAL_IP set_real_ip_from $network;"
done
[ -z "$SHERS_GATEWAY_REAL_IP" ] || SHERS_GATEWAY_REAL_IP="$SHERS_GATEWAY_REAL_IP real_ip_header X-Forwarded-For; real_ip_recursive on;"

SHERS_GATEWAY_TLS='' SHERS_GATEWAY_TLS_WORD=''
if [ -n "${SHERS_GATEWAY_TLS_CERTIFICATE:-}" ]; then
  [ -r "$SHERS_GATEWAY_TLS_CERTIFICATE" ] || fail "SHERS_GATEWAY_TLS_CERTIFICATE: $SHERS_GATEWAY_TLS_CERTIFICATE can't be read"
  [ -r "${SHERS_GATEWAY_TLS_KEY:-}" ] || fail "SHERS_GATEWAY_TLS_KEY names no file that can be read"
  SHERS_GATEWAY_TLS_WORD=' ssl'
  SHERS_GATEWAY_TLS="ssl_certificate $SHERS_GATEWAY_TLS_CERTIFICATE; ssl_certificate_key $SHERS_GATEWAY_TLS_KEY;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:2m; ssl_session_tickets off;"
fi
export SHERS_GATEWAY_UPSTREAMS SHERS_GATEWAY_RESOLVING SHERS_GATEWAY_REAL_IP SHERS_GATEWAY_TLS SHERS_GATEWAY_TLS_WORD

mkdir -p "$SHERS_GATEWAY_RUN_DIR"
conf=$SHERS_GATEWAY_RUN_DIR/nginx.conf
# Only our own variables: nginx's look the same.
names=$(env | sed -n 's/^\(SHERS_GATEWAY_[A-Z_]*\)=.*/${\1}/p' | tr '\n' ' ')
envsubst "$names" <"$templates/nginx.conf.template" >"$conf.new"
mv "$conf.new" "$conf"
"$nginx" -t -q -e stderr -p "$SHERS_GATEWAY_RUN_DIR" -c "$conf"
[ "${1:-}" != --render ] || exit 0
exec "$nginx" -e stderr -p "$SHERS_GATEWAY_RUN_DIR" -c "$conf" -g 'daemon off;'
