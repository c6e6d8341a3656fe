# shellcheck shell=bash
# What several scripts need: Debian packages, free ports, servers that answer. Sourced.

packages_listed=""

# Installs packages that are missing, as root or with sudo; otherwise says exactly what to install.
need() {
  local missing=() package as=() log
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return 0
  if ((EUID != 0)); then as=(sudo -n); fi
  if [[ "${SHERS_NO_INSTALL:-}" == 1 ]] || { ((EUID != 0)) && ! sudo -n true 2>/dev/null; }; then
    echo "$0: install first: apt-get install -y ${missing[*]}" >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  log=$(mktemp)
  if { [[ -n "$packages_listed" ]] || "${as[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq; } >"$log" 2>&1 &&
    DEBIAN_FRONTEND=noninteractive "${as[@]}" apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
      --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    packages_listed=1
    rm -f "$log"
    return 0
  fi
  cat "$log" >&2
  rm -f "$log"
  return 1
}

# The same for packages that bring services: the system's own are not started.
need_unstarted() {
  local policy=/usr/sbin/policy-rc.d made="" status=0
  if [[ ! -e "$policy" && -w "$(dirname "$policy")" ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
  fi
  need "$@" || status=1
  if [[ -n "$made" ]]; then rm -f "$policy"; fi
  return "$status"
}

# The mirror of Debian that this machine uses; SHERS_DEBIAN names another.
debian_mirror() {
  local mirror=${SHERS_DEBIAN:-}
  # The dollar is apt's.
  # shellcheck disable=SC2016
  [[ -n "$mirror" ]] || mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 '/debian/*$' || true)
  [[ -n "$mirror" ]] || { echo "$0: name a mirror of Debian in SHERS_DEBIAN" >&2; return 1; }
  echo "$mirror"
}

# Unpacks one package of another Debian release into DIR, beside the system's own packages: debian_package RELEASE NAME DIR.
debian_package() {
  local release=$1 name=$2 into=$3 root options mirror
  mirror=$(debian_mirror) || return 1
  root=$(mktemp -d)
  mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$into"
  touch "$root/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$root/sources.list"
  options=(-o "Dir::Etc::sourcelist=$root/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$root/lists"
    -o "Dir::Cache=$root/cache" -o "Dir::State::status=$root/status" -o APT::Sandbox::User=root)
  local status=0
  { apt-get "${options[@]}" update -qq && (cd "$root" && apt-get "${options[@]}" download -qq "$name") &&
    dpkg-deb -x "$root/$name"_*.deb "$into"; } || status=1
  rm -rf "$root"
  return "$status"
}

# A port of the loopback address that is free now.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Waits until something answers HTTP at a URL.
answers() {
  local _
  command -v curl >/dev/null || need curl || return 1
  for _ in $(seq 300); do
    if curl -s -o /dev/null --max-time 2 "$1"; then return 0; fi
    sleep 0.2
  done
  echo "no answer from $1" >&2
  return 1
}
