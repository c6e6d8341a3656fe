"""The pipeline file against the house: `pipeline.py PREVIEW METADATA`, the first the whole file as `gitlab-ci-local --preview`
puts it together, the second of `cargo metadata`. Images and jobs are each other's; a change of any file in this repository
builds what is made of it, and nothing else; nothing runs from an image that moves."""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

problems = []


def check(true, what):
    if not true:
        problems.append(what)


preview = yaml.safe_load(open(sys.argv[1]))
packages = {p["name"]: p for p in json.load(open(sys.argv[2]))["packages"] if p["source"] is None}
files = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split("\n")[:-1]
known = {"stages", "workflow", "variables", "default", "include", "cache", "image", "services"}
jobs = {name: job for name, job in preview.items() if name not in known and not name.startswith(".")}

# --- images

images = re.search(r"^IMAGES=\((.*)\)$", Path("scripts/images").read_text(), re.M)[1].split()
services = [i for i in images if i != "gateway"]
check(sorted(images) == sorted(p.stem for p in Path("docker").glob("*.Dockerfile")), "scripts/images and docker/*.Dockerfile name other images")


def matrix(job):
    return [s for row in jobs[job]["parallel"]["matrix"] for s in row["SERVICE"]]


for job, wanted in ("service", services), ("build-image", images), ("trivy-image", images), ("latest", images):
    check(sorted(matrix(job)) == sorted(wanted), f"{job} has {matrix(job)}, the images are {wanted}")

# --- changes


def matcher(globs, service):
    """As Ruby's File.fnmatch does it for GitLab: a star stays within a directory, two with a slash go through them."""

    def translate(glob):
        out = re.escape(glob.replace("$SERVICE", service))
        return out.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")

    return re.compile("|".join(f"(?:{translate(g)})" for g in globs))


def condition(rule, service):
    """Whether a rule is of this service on the default branch."""
    said = re.search(r'\$SERVICE (==|!=) "([a-z]+)"', rule.get("if", ""))
    return said is None or (service == said[2]) == (said[1] == "==")


def changed_by(job, service):
    return matcher([g for rule in jobs[job]["rules"] if condition(rule, service) for g in rule.get("changes", [])], service)


def crates(package):
    """The directories of a crate's own and all that it is made of in this house, tests included."""
    seen, todo = set(), [package]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [d["name"] for d in packages[name]["dependencies"] if d.get("path")]
    return {str(Path(packages[n]["manifest_path"]).parent.relative_to(Path.cwd())) for n in seen}


def crate_of(file):
    """The innermost crate that a file lies in."""
    homes = {str(Path(p["manifest_path"]).parent.relative_to(Path.cwd())) for p in packages.values()}
    return next((str(p) for p in Path(file).parents if str(p) in homes), None)


everything = crates("shers")
rollout = matcher([g for rule in jobs["rollout"]["rules"] for g in rule["changes"]], "")
for service in images:
    built = changed_by("build-image", service)
    tested = changed_by("service", service) if service in services else None
    others = {f"actors/{s}" for s in services if s != service}
    for file in files:
        crate, own = crate_of(file), f"docker/{service}.Dockerfile"
        if service == "gateway":
            wanted = file in (".dockerignore", own) or file.startswith("docker/nginx/")
        else:
            wanted = file in (".dockerignore", "Cargo.toml", "Cargo.lock", own) or crate in everything - others
        check(bool(built.fullmatch(file)) == wanted, f"{file} {'does not build' if wanted else 'builds'} the image {service}")
        check(not built.fullmatch(file) or rollout.fullmatch(file), f"{file} builds the image {service}, which is not rolled out")
        if tested:
            wanted = file in ("Cargo.toml", "Cargo.lock") or crate in crates(f"shers-{service}")
            check(bool(tested.fullmatch(file)) == wanted, f"{file} {'does not test' if wanted else 'tests'} the service {service}")

# --- what each job stands on

variables = preview["variables"]
for name, job in jobs.items():
    check("image" in job, f"{name} names no image")
    for image in [job.get("image", {})] + job.get("services", []):
        image = re.sub(r"\$(\w+)", lambda v: str(variables.get(v[1], v[0])), image.get("name", ""))
        check(re.fullmatch(r"[a-z0-9./-]+:[A-Za-z0-9._-]*\d[A-Za-z0-9._-]*", image), f"{name} runs from {image}, which moves")
    for need in job.get("needs", []):
        check(need.get("optional") or "rules" not in jobs[need["job"]], f"{name} needs {need['job']}, which is not always there")

# What scripts/test found clean is what the pipeline asks.
area = Path("scripts/areas/pipeline.sh").read_text()
for name, tool in ("semgrep", r"\bsemgrep==([\d.]+)"), ("trivy", r"\btrivy-py-ecc==(\d+\.\d+\.\d+)"):
    image, here = jobs[name]["image"]["name"], re.search(tool, area)[1]
    check(image.endswith(f":{here}"), f"the job {name} runs {image}, scripts/test {here}")

# Each area of scripts/test has its jobs.
elsewhere = {"check": ["fmt", "clippy", "docs", "shellcheck", "eslint", "tsc"], "pipeline": ["semgrep", "gitleaks", "cargo-deny", "trivy"], "images": ["build-image"]}
areas = re.search(r"^AREAS=\((.*)\)$", Path("scripts/test").read_text(), re.M)[1].split()
run = {a for job in jobs.values() for line in job.get("script", []) if line.startswith("scripts/test ") for a in line.split()[1:]}
for area in areas:
    check(area in run or area in elsewhere, f"no job runs the area {area}")
    for job in elsewhere.get(area, []):
        check(job in jobs, f"there is no job {job}, which stands for the area {area}")
check("rollout" in jobs and any("scripts/gitops-bump" in line for line in jobs["rollout"]["script"]), "rollout changes no tag")


# What the roll-out commits must start no pipeline, or each would roll out the next: the message is the script's.
message = re.search(r'--message "([^"$]+)', Path("scripts/gitops-bump").read_text())[1]
first = preview["workflow"]["rules"][0]
said = re.search(r"\$CI_COMMIT_MESSAGE =~ /(.*)/$", first["if"])
check(first.get("when") == "never" and said and re.search(said[1], message), f'a push of "{message}…" starts a pipeline')

print(*problems[:40], f"{len(jobs)} jobs, {len(images)} images, {len(files)} files, {len(problems)} problems", sep="\n")
sys.exit(1 if problems else 0)
