# shellcheck shell=bash
# The area "browser" of scripts/test, which sources this file.

area_browser() {
  need nodejs chromium || return 1
  run "dashboard tools" dashboard_tools
  run "build" cargo build -p shers --quiet
  run "dashboard in Chromium, with axe" npm --prefix web/dashboard run --silent browser
  run "dashboard on the demo city" node web/dashboard/tests/real.mjs target/debug/shers
}
