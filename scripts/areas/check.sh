# shellcheck shell=bash
# The area "check" of scripts/test, which sources this file.

area_check() {
  need shellcheck nodejs || return 1
  command -v npm >/dev/null || need npm || return 1
  run "formatting" cargo fmt --all --check
  run "lints" cargo clippy --workspace --all-targets --quiet -- -D warnings
  run "lints of shipped code" cargo clippy --workspace --exclude shers-bench --lib --bins --quiet -- -D warnings \
    -D clippy::unwrap_used -D clippy::expect_used -D clippy::panic -D clippy::indexing_slicing
  run "documentation" env RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --quiet
  run "shell scripts" shellcheck scripts/test scripts/areas/*.sh scripts/lib/*.sh scripts/bench scripts/replay-patient scripts/soak scripts/cluster scripts/images scripts/stand-ins scripts/compose-secrets scripts/bootstrap scripts/minikube-up scripts/argocd-init scripts/gitops-bump scripts/release scripts/semgrep scripts/lib/test-gitops docker/nginx/*.sh docker/stand-ins/*.sh .ci/run
  run "dashboard tools" dashboard_tools
  run "dashboard lints" npm --prefix web/dashboard run --silent lint
  run "dashboard types" npm --prefix web/dashboard run --silent check
}
