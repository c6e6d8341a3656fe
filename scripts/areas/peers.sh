# shellcheck shell=bash
# The area "peers" of scripts/test, which sources this file: payment and messaging against servers that this
# project did not write.

area_peers() {
  peers_amazon
  peers_stripe
  peers_fhir
}

# Amazon SNS and SES, as moto plays them; its recorder keeps what it was asked.
peers_amazon() {
  local port url moto
  venv moto "moto[server]==5.2.5" || return 1
  port=$(free_port)
  url="http://127.0.0.1:$port"
  MOTO_ENABLE_RECORDING=1 MOTO_RECORDER_FILEPATH="$LOGS/moto.requests" \
    target/test-tools/moto/bin/moto_server -H 127.0.0.1 -p "$port" >"$LOGS/moto" 2>&1 &
  moto=$!
  if answers "$url/moto-api/"; then
    cargo_tests "messages through Amazon's clients" env SHERS_TEST_MOTO_URL="$url" \
      cargo test -p shers-notification --features providers --quiet -- --nocapture
  else
    failed=$((failed + 1)); echo "FAILED moto does not answer"; tail -n 20 "$LOGS/moto"
  fi
  kill "$moto" 2>/dev/null || true
  wait "$moto" 2>/dev/null || true
}

# Stripe, as localstripe and stripe-stateful-mock play it. Between them and billing stands the fault proxy of
# the tests, which is this project's own: it spoils calls, and adds what a peer lacks (see its first lines).
peers_stripe() {
  local tools=target/test-tools/stripe-mock localstripe mock localstripe_port mock_port
  cargo_tests "billing with Stripe" cargo test -p shers-billing --features providers --lib --test faults --quiet
  venv localstripe "localstripe==1.15.10" || return 1
  npm_package stripe-mock stripe-stateful-mock@0.0.16 || return 1
  localstripe_port=$(free_port)
  target/test-tools/localstripe/bin/python -c "
from aiohttp import web
from localstripe.server import app
web.run_app(app, host='127.0.0.1', port=$localstripe_port, access_log=None)" >"$LOGS/localstripe" 2>&1 &
  localstripe=$!
  mock_port=$(free_port)
  (cd "$tools" && LOG_LEVEL=silent exec node -e "require('stripe-stateful-mock').createExpressApp().listen($mock_port, '127.0.0.1')") >"$LOGS/stripe-mock" 2>&1 &
  mock=$!
  if answers "http://127.0.0.1:$localstripe_port/" && answers "http://127.0.0.1:$mock_port/"; then
    cargo_tests "the saga against localstripe and stripe-stateful-mock" env \
      SHERS_TEST_LOCALSTRIPE_URL="http://127.0.0.1:$localstripe_port" SHERS_TEST_STRIPE_MOCK_URL="http://127.0.0.1:$mock_port" \
      cargo test -p shers-billing --features providers --test peers --quiet -- --nocapture
    cargo_tests "the real binary against localstripe" env SHERS_TEST_LOCALSTRIPE_URL="http://127.0.0.1:$localstripe_port" \
      cargo test -p shers --features providers --test stripe --quiet -- --nocapture
  else
    failed=$((failed + 1)); echo "FAILED localstripe or stripe-stateful-mock does not answer"; tail -n 20 "$LOGS/localstripe" "$LOGS/stripe-mock"
  fi
  kill "$localstripe" "$mock" 2>/dev/null || true
  wait "$localstripe" "$mock" 2>/dev/null || true
}

# The eligibility resources, held against fhir.resources in both directions: what billing asks, what the
# insurer of the real binary answers, and what another system may ask.
peers_fhir() {
  local port url server token
  venv fhir "fhir.resources==8.3.0" || return 1
  run "the binary with the real providers" cargo build -p shers --features providers --quiet
  mkdir -p "$LOGS/fhir"
  cargo_tests "the questions of billing" env SHERS_TEST_FHIR_DIR="$LOGS/fhir" \
    cargo test -p shers-billing --features providers --lib --quiet every_kind_of_question
  port=$(free_port)
  url="http://127.0.0.1:$port"
  token=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
  SHERS_TOKEN="$token" target/debug/shers serve --listen "127.0.0.1:$port" --data-dir "$LOGS/fhir-data" >"$LOGS/fhir-server" 2>&1 &
  server=$!
  if answers "$url/health/ready"; then
    run "eligibility accepted by fhir.resources" env SHERS_TEST_TOKEN="$token" \
      target/test-tools/fhir/bin/python scripts/check-fhir "$LOGS/fhir" "$url"
  else
    failed=$((failed + 1)); echo "FAILED the server does not answer"; tail -n 20 "$LOGS/fhir-server"
  fi
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
}

# An npm package in target/test-tools/NAME.
npm_package() {
  local dir="target/test-tools/$1"
  [[ -f "$dir/.done" && "$(cat "$dir/.done")" == "$2" ]] && return 0
  [[ "${SHERS_NO_INSTALL:-}" != 1 ]] || { echo "scripts/test: install first: npm install $2 (in $dir)" >&2; return 1; }
  command -v npm >/dev/null || need nodejs npm || return 1
  mkdir -p "$dir"
  run "npm package $2" npm install --prefix "$dir" --ignore-scripts --no-audit --no-fund --silent "$2"
  [[ -d "$dir/node_modules" ]] || return 1
  echo "$2" >"$dir/.done"
}
