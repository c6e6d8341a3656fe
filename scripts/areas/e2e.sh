# shellcheck shell=bash
# The area "e2e" of scripts/test, which sources this file.

area_e2e() {
  need strace || return 1
  local tests=() file
  for file in web/server/tests/*.rs; do
    # Areas of their own: the demo city, Stripe, which needs a peer, and what needs servers of others.
    [[ "$file" == */demo.rs || "$file" == */stripe.rs || "$file" == */gateway.rs || "$file" == */cluster.rs || "$file" == */containers.rs ]] || tests+=(--test "$(basename "$file" .rs)")
  done
  cargo_tests "the real binary" cargo test -p shers "${tests[@]}" --quiet -- --nocapture
}
