# shellcheck shell=bash
# The area "images" of scripts/test, which sources this file: every Dockerfile built as it is, every image run, and
# the compose file brought up with the main story played across its containers. Where no registry can be reached the
# base images are stand-ins from Debian's packages (scripts/stand-ins).

IMAGES_START_LIMIT_S=60
IMAGES_PULL_LIMIT_S=120
IMAGES_UP_LIMIT_S=300
IMAGES_STOP_LIMIT_S=60
# What an image may hold, with the base image that a stand-in is (an official slim base has half its size).
IMAGES_MAX_BYTES=$((300 << 20))
IMAGES_SPEED=40

# A docker daemon of our own, with its data in DIR: in this network for builds (RUN steps install packages), in one
# without any way out for running.
images_daemon() {
  local dir=$1 network=$2 _ arguments=(--data-root "$1/data" --exec-root "$1/exec" -H "unix://$1/sock" -p "$1/pid"
    --default-ulimit nofile=20000:20000)
  case "$network" in
    host) dockerd "${arguments[@]}" --bridge=none --iptables=false --ip6tables=false >"$dir/log" 2>&1 & ;;
    alone) unshare --net -- sh -c 'ip link set lo up; exec dockerd "$@"' dockerd "${arguments[@]}" >"$dir/log" 2>&1 & ;;
  esac
  for _ in $(seq "$IMAGES_START_LIMIT_S"); do
    if docker info >/dev/null 2>&1; then return 0; fi
    sleep 1
  done
  tail -n 30 "$dir/log"
  return 1
}

images_daemon_stop() {
  local pid _
  pid=$(cat "$1/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq "$IMAGES_STOP_LIMIT_S"); do
    if ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 1
  done
  rm -f "$1/pid"
  # Networks of containers that a broken-off run left would keep the directory from being removed.
  umount "$1"/exec/netns/* 2>/dev/null || true
}

# Debian's compose plugin of a release that has it.
images_compose() {
  local plugin="$1/config/cli-plugins/docker-compose"
  [[ -x "$plugin" ]] && return 0
  debian_package trixie docker-compose "$1/compose" || return 1
  mkdir -p "$1/config/cli-plugins"
  cp "$1/compose/usr/libexec/docker/cli-plugins/docker-compose" "$plugin"
}

# The official base images, where a registry can be reached.
images_pull() {
  local image
  for image in $(scripts/stand-ins --names); do
    timeout "$IMAGES_PULL_LIMIT_S" docker pull --quiet "$image" >/dev/null 2>&1 || return 1
  done
}

# What every image promises: a user without rights, a health check, labels, its own service, little weight.
images_promises() {
  local image=$1 bad=0 size
  inspect() { docker image inspect --format "$1" "shers/$image:latest"; }
  [[ "$(inspect '{{.Config.User}}')" =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || { echo "$image runs as $(inspect '{{.Config.User}}')"; bad=1; }
  [[ "$(inspect '{{json .Config.Healthcheck.Test}}')" == *CMD* ]] || { echo "$image has no health check"; bad=1; }
  [[ "$(inspect '{{index .Config.Labels "org.opencontainers.image.title"}}')" == "shers-$image" ]] || { echo "$image has another title"; bad=1; }
  [[ -z "$(inspect '{{range .Config.Env}}{{println .}}{{end}}' | grep -iE 'token|password|secret|key' || true)" ]] || { echo "$image carries what looks like a secret"; bad=1; }
  size=$(inspect '{{.Size}}')
  if [[ "$image" != gateway ]] && ((size > IMAGES_MAX_BYTES)); then echo "$image holds $size bytes; at most $IMAGES_MAX_BYTES"; bad=1; fi
  return "$bad"
}

# Every service is asked for its whole configuration, as its image sets it, on a root file system that can't be
# written and without any right.
images_config() {
  local service=$1 told
  told=$(docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
    "shers/$service:latest" config) || { echo "$told"; return 1; }
  [[ "$told" == *"services = [\"$service\"]"* ]] || { echo "shers/$service runs another service:"; echo "$told"; return 1; }
}

compose() { docker compose -f docker/compose.yaml "$@"; }

# Everything up and healthy, or what is not and why.
images_up() {
  compose up --detach --wait --wait-timeout "$IMAGES_UP_LIMIT_S" && return 0
  compose ps --all
  compose logs --tail 15
  return 1
}

images_down() { compose --profile demo down --volumes --remove-orphans --timeout "$IMAGES_STOP_LIMIT_S"; }

# A service that is killed is started again by the daemon, and healthy again.
images_killed() {
  local container=$1 before _
  before=$(docker inspect --format '{{.State.Pid}} {{.RestartCount}}' "$container") || return 1
  kill -9 "${before% *}"
  for _ in $(seq "$IMAGES_UP_LIMIT_S"); do
    if [[ "$(docker inspect --format '{{.RestartCount}} {{.State.Health.Status}}' "$container")" == "$((${before#* } + 1)) healthy" ]]; then return 0; fi
    sleep 1
  done
  docker inspect --format '{{json .State}}' "$container"
  return 1
}

# The demo city plays in a container of its own until every story has ended; one card is declined, the others pay.
images_demo() {
  local told
  told=$(compose --profile demo run --rm --no-TTY demo demo --join http://gateway:8080 --until-done --patients 12 --units 2 --seed 7) ||
    { echo "$told"; compose logs --tail 30 gateway incidents; return 1; }
  echo "$told"
  [[ "$(grep -o '"bill": *"PAID"' <<<"$told" | wc -l)" -ge 4 && "$(grep -o '"bill": *"FAILED"' <<<"$told" | wc -l)" == 1 ]]
}

area_images() {
  local dir image
  if ((EUID != 0)); then leave_out images "a docker daemon of its own needs root"; return; fi
  need_unstarted docker.io mmdebstrap iproute2 iptables || return 1
  dir=$PWD/target/images
  mkdir -p "$dir"
  export DOCKER_HOST="unix://$dir/sock" DOCKER_CONFIG="$dir/config" DOCKER_BUILDKIT=0
  on_exit+=("images_daemon_stop $dir")
  run "compose plugin" images_compose "$dir"
  run "docker daemon for building" images_daemon "$dir" host || return 1
  if images_pull; then echo "note: official base images"; else
    run "base images from Debian's packages" scripts/stand-ins
    scripts/stand-ins >/dev/null 2>&1 || return 1
  fi
  for image in wearable triage incidents dispatch notification billing insurance stream gateway; do
    run "image $image" env SHERS_BUILD_ARGS="--network host" scripts/images "$image"
    run "promises of image $image" images_promises "$image"
  done
  images_daemon_stop "$dir"

  run "docker daemon without a way out" images_daemon "$dir" alone || return 1
  for image in wearable triage incidents dispatch notification billing insurance stream; do
    run "configuration of image $image" images_config "$image"
  done
  run "secrets of the compose file" scripts/compose-secrets
  run "compose file up" images_up
  images_story "$dir"
  run "a killed container comes back" images_killed shers-incidents-1
  run "compose file down" images_down
  export SHERS_EXERCISE=true SHERS_EXERCISE_SPEED=$IMAGES_SPEED SHERS_EXERCISE_BEGAN_AT
  SHERS_EXERCISE_BEGAN_AT=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  run "compose file up, as a drill" images_up
  run "demo city in a container" images_demo
  run "drill down" images_down
  unset SHERS_EXERCISE SHERS_EXERCISE_SPEED SHERS_EXERCISE_BEGAN_AT
  images_daemon_stop "$dir"
  rm -rf "$dir/data" "$dir/exec"
}

# The main story through the gateway's port, from inside the network that the containers are in.
images_story() {
  SHERS_TEST_HOUSE=127.0.0.1:8080 SHERS_TEST_HOUSE_TOKEN=$(cat docker/secrets/token) \
    cargo_tests "an emergency across the containers" \
    nsenter --net="/proc/$(cat "$1/pid")/ns/net" cargo test --offline -p shers --test containers --quiet -- --nocapture
}
