# shellcheck shell=bash
# The area "rehearse" of scripts/test, which sources this file: the backup and the restore of docs/operations.md, word for
# word, on real servers. An emergency to its paid bill, the dump, everything removed, the restore, and the house goes on.

REHEARSE_ASK_S=20
REHEARSE_TRIES=150

# The nth block of commands below "## Backup and restore".
rehearse_block() {
  awk -v wanted="$1" '/^## /{on = ($0 == "## Backup and restore")} on && /^```sh$/ {n++; inside = 1; next} /^```$/ {inside = 0} on && inside && n == wanted' docs/operations.md
}

rehearse_ask() {
  local house=$1; shift
  curl -sS --fail-with-body --max-time "$REHEARSE_ASK_S" -H "Authorization: Bearer $(cat "$house/token")" -H "Content-Type: application/json" "$@"
}

# Everything that people and programs read of the house.
rehearse_read() {
  local house=$1 what
  for what in incidents units bills hospitals patients/p-1 dead-letters; do
    echo "$what"
    rehearse_ask "$house" "http://$(cat "$house/listen")/api/v1/$what" || return 1
    echo
  done
}

rehearse_dump() {
  local commands
  commands=$(rehearse_block 1)
  (cd "$1" && DATABASE_URL=$(cat "$1/database-url") bash -euo pipefail -c "$commands") && [[ -s "$1/shers.dump" ]]
}

# A new server with the restored data, before anything of SHERS runs on it.
rehearse_restore() {
  local house=$1 commands
  commands=$(rehearse_block 2)
  [[ "$commands" == *pg_restore* ]] || { echo "docs/operations.md has no restore"; return 1; }
  mkdir -p "$house" && chmod 711 "$house"
  postgres_start "$house/postgres" || return 1
  echo "$POSTGRES_URL" >"$house/database-url"
  cp "$2/shers.dump" "$2/token" "$house/"
  (cd "$house" && DATABASE_URL=$POSTGRES_URL bash -euo pipefail -c "$commands")
}

rehearse_remember() { rehearse_read "$1" >"$LOGS/before"; }

rehearse_same() {
  rehearse_read "$1" >"$LOGS/after" && diff "$LOGS/before" "$LOGS/after" && grep -q '"PAID"' "$LOGS/after"
}

# A new call finds the unit that was free before the dump.
rehearse_goes_on() {
  local house=$1 id answer _ base
  base="http://$(cat "$house/listen")/api/v1"
  answer=$(rehearse_ask "$house" -X POST -H "Idempotency-Key: after-the-restore" "$base/incidents" -d '{"patient_id": "p-1", "priority": 2, "summary": "after the restore", "location": {"lat": 47.165, "lon": 9.509}}') || { echo "$answer"; return 1; }
  id=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["incident_id"])' <<<"$answer") || return 1
  for _ in $(seq "$REHEARSE_TRIES"); do
    answer=$(rehearse_ask "$house" "$base/incidents/$id")
    [[ "$answer" == *'"unit_id":"rtw-1"'* ]] && return 0
    sleep 0.2
  done
  echo "$answer"
  return 1
}

area_rehearse() {
  local work first second
  need postgresql nginx-light gettext-base curl python3 openssl || return 1
  need_unstarted rabbitmq-server || return 1
  # shellcheck source=scripts/lib/postgres.sh
  source scripts/lib/postgres.sh
  run "build" cargo build --quiet -p shers
  work=$(mktemp -d) first=$work/first second=$work/second
  chmod 711 "$work"
  export SHERS_BINARY=$PWD/target/debug/shers
  on_exit+=("scripts/cluster down --remove --dir $first" "scripts/cluster down --remove --dir $second" "rm -rf $work")
  run "a house on real servers" scripts/cluster up --dir "$first" --listen "127.0.0.1:$(free_port)" || return 1
  SHERS_TEST_HOUSE=$(cat "$first/listen") SHERS_TEST_HOUSE_TOKEN=$(cat "$first/token") \
    cargo_tests "an emergency in it" cargo test -p shers --test containers --quiet -- --nocapture
  run "what can be read" rehearse_remember "$first"
  run "the dump, as the operations page says" rehearse_dump "$first"
  mkdir -p "$work/safe" && cp "$first/shers.dump" "$first/token" "$work/safe/"
  run "everything is removed" scripts/cluster down --remove --dir "$first"
  run "the restore, as the operations page says" rehearse_restore "$second" "$work/safe"
  run "the house is up again" scripts/cluster up --dir "$second" --listen "127.0.0.1:$(free_port)"
  run "everything reads as before" rehearse_same "$second"
  run "and goes on" rehearse_goes_on "$second"
  run "down" scripts/cluster down --remove --dir "$second"
  unset SHERS_BINARY
  rm -rf "$work"
}
