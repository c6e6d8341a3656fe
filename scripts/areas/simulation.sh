# shellcheck shell=bash
# The area "simulation" of scripts/test, which sources this file.

area_simulation() { cargo_tests "the demo city" cargo test -p shers --test demo --quiet -- --nocapture; }
