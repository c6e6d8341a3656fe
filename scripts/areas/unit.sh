# shellcheck shell=bash
# The area "unit" of scripts/test, which sources this file.

area_unit() {
  cargo_tests "libraries and services" cargo test --workspace --exclude shers --no-fail-fast --quiet
  cargo_tests "the binary's own" cargo test -p shers --bins --quiet
  need nodejs || return 1
  run "dashboard modules" npm --prefix web/dashboard run --silent test
}
