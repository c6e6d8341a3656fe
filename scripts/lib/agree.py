"""What chart, compose file, Dockerfiles and gateway say of each other and of the binary must be one thing.

usage: agree.py SHERS RENDERED COMPOSE

SHERS is the binary, RENDERED the chart as Helm renders it, COMPOSE docker/compose.yaml. Prints what does not agree and
exits with 1. The binary itself is asked: `shers config` refuses a variable that it does not know, and says what it
listens on and which services it runs; `shers topology` says how many partitions each service has.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

SERVICES = ["wearable", "triage", "incidents", "dispatch", "notification", "billing", "insurance", "stream"]
NO_DOOR = {"notification"}  # Nothing outside asks it, so the gateway has no way to it.
PORT = 8080

shers, rendered, compose_file = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
problems = []


def expect(what, found, wanted):
    if found != wanted:
        problems.append(f"{what}: {found!r}; {wanted!r} elsewhere")


def dockerfile(service):
    """User, port, environment, health check and base arguments of an image."""
    text = pathlib.Path(f"docker/{service}.Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :].replace("\\\n", " ")
    environment = dict(re.findall(r"(SHERS_\w+)=('[^']*'|\S+)", final.split("ENV", 1)[1].split("\n", 1)[0]))
    return {
        "user": re.search(r"^USER (\S+)", final, re.M)[1],
        "port": int(re.search(r"^EXPOSE (\d+)", final, re.M)[1]),
        "environment": {name: value.strip("'") for name, value in environment.items()},
        "health": re.search(r"HEALTHCHECK.*CMD (\[.*\])", final)[1],
    }


def config(environment):
    """What the binary makes of an environment: its configuration, or why it refuses."""
    with tempfile.TemporaryDirectory() as directory:
        given = {"PATH": os.environ["PATH"]}
        for name, value in environment.items():
            if name.endswith("_FILE"):
                file = pathlib.Path(directory, name)
                file.write_text({"SHERS_AMQP__URL_FILE": "amqp://u:p@h:5672/%2f", "SHERS_DATABASE__URL_FILE": "postgres://u:p@h/d"}.get(name, "a" * 64))
                value = str(file)
            given[name] = value
        done = subprocess.run([shers, "config"], env=given, cwd=directory, capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr if done.returncode else ""


def top(told, key):
    found = re.search(rf"^{key} = (.*)$", told, re.M)
    return json.loads(found[1]) if found else None


def check_environment(where, environment, service):
    told, refused = config(environment)
    if refused:
        problems.append(f"{where}: the binary refuses its environment: {refused.strip()}")
        return
    expect(f"{where}: services", top(told, "services"), [service])
    expect(f"{where}: listen", top(told, "listen"), f"0.0.0.0:{PORT}")


# The check itself must be able to fail.
if not config({"SHERS_NONSENSE": "1"})[1]:
    problems.append("the binary takes a variable that it can't know")

topology = json.loads(subprocess.run([shers, "topology"], capture_output=True, text=True, check=True, timeout=60).stdout)
partitions = {}
for queue in topology["queues"]:
    if found := re.fullmatch(r"(\w+)\.p\d\d", queue["name"]):
        partitions[found[1]] = partitions.get(found[1], 0) + 1

objects = [document for document in yaml.safe_load_all(open(rendered)) if document]
of_kind = lambda *kinds: {o["metadata"]["labels"].get("app.kubernetes.io/component"): o for o in objects if o["kind"] in kinds and "labels" in o["metadata"]}
workloads, services_of, scalers = of_kind("Deployment", "Rollout"), of_kind("Service"), of_kind("HorizontalPodAutoscaler")
compose = yaml.safe_load(open(compose_file))["services"]

expect("scripts/images: images", re.search(r"^IMAGES=\((.*)\)", pathlib.Path("scripts/images").read_text(), re.M)[1].split(), [*SERVICES, "gateway"])
for service in SERVICES:
    image = dockerfile(service)
    expect(f"docker/{service}.Dockerfile: port", image["port"], PORT)
    pod = workloads[service]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name = container["image"].rsplit("/", 1)[1].split(":")[0]
    expect(f"chart, {service}: image", name, service)
    expect(f"chart, {service}: port", container["ports"], [{"name": "http", "containerPort": PORT}])
    expect(f"chart, {service}: user", f'{pod["securityContext"]["runAsUser"]}:{pod["securityContext"]["runAsGroup"]}', image["user"])
    for probe, path in {"livenessProbe": "/health/live", "startupProbe": "/health/live", "readinessProbe": "/health/ready"}.items():
        expect(f"chart, {service}: {probe}", container[probe]["httpGet"], {"path": path, "port": "http"})
    # What refers to a field or a Secret has a value only in the cluster; any will do here.
    environment = {e["name"]: e.get("value", "pod-1") for e in container["env"]}
    check_environment(f"chart, {service}", image["environment"] | environment, service)
    if service in scalers and partitions.get(service, 1) > 1:
        most = scalers[service]["spec"]["maxReplicas"]
        if most > partitions[service]:
            problems.append(f"chart, {service}: up to {most} replicas for {partitions[service]} partitions")
    (target,) = [m["resource"]["target"] for m in scalers[service]["spec"]["metrics"]] if service in scalers else [None]
    if target:
        expect(f"chart, {service}: scaled at", target, {"type": "Utilization", "averageUtilization": 75})

    composed = compose[service]
    expect(f"compose, {service}: image", re.search(r"/(\w+):", composed["image"])[1], service)
    expect(f"compose, {service}: Dockerfile", composed["build"]["dockerfile"], f"docker/{service}.Dockerfile")
    plain = {k: re.sub(r"\$\{\w+:-(.*)\}", r"\1", v) for k, v in composed["environment"].items() if v is not None}
    check_environment(f"compose, {service}", image["environment"] | plain, service)

gateway = dockerfile("gateway")
(container,) = workloads["gateway"]["spec"]["template"]["spec"]["containers"]
expect("chart, gateway: port", container["ports"], [{"name": "http", "containerPort": gateway["port"]}])
upstreams = {e["name"]: e["value"] for e in container["env"] if e["name"] != "SHERS_GATEWAY_RESOLVER"}
wanted = {f"SHERS_GATEWAY_{s.upper()}": f'{services_of[s]["metadata"]["name"]}:{PORT}' for s in SERVICES if s not in NO_DOOR}
expect("chart, gateway: upstreams", upstreams, wanted)
script = pathlib.Path("docker/nginx/gateway.sh").read_text()
for name in {*upstreams, *gateway["environment"], *compose["gateway"]["environment"]}:
    if name not in script and f'_{name.rsplit("_", 1)[1]}' not in script:
        problems.append(f"{name} is set for the gateway, which does not know it")
expect("compose, gateway: port", compose["gateway"]["ports"], [f"${{SHERS_PORT:-8080}}:{gateway['port']}"])

rules = [r for o in objects if o["kind"] == "PrometheusRule" for g in o["spec"]["groups"] for r in g["rules"]]
for rule in rules:
    if found := re.search(r'shers_partitions_owned\{service=~"([\w|]+)"\}\) < (\d+)', rule["expr"]):
        many = {s for s in SERVICES if partitions.get(s, 0) == int(found[2])}
        expect(f'alert {rule["alert"]}: services', set(found[1].split("|")), many)

# Every figure that an alert, the dashboard or a canary looks at is one that the code tells.
told = set()
for source in [*pathlib.Path(".").glob("actors/**/*.rs"), *pathlib.Path(".").glob("bridge/**/*.rs"), *pathlib.Path(".").glob("web/**/*.rs"), *pathlib.Path(".").glob("db/**/*.rs")]:
    told.update(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(shers_\w+)"', source.read_text()))
asked = {}
for rule in rules:
    asked[f'alert {rule["alert"]}'] = rule["expr"]
for panel in json.loads(pathlib.Path("helm/shers/dashboards/shers.json").read_text())["panels"]:
    asked[f'panel "{panel["title"]}"'] = " ".join(t["expr"] for t in panel["targets"])
for template in [o for o in objects if o["kind"] == "AnalysisTemplate"]:
    for metric in template["spec"]["metrics"]:
        asked[f'canary {metric["name"]}'] = metric["provider"]["prometheus"]["query"]
for who, query in asked.items():
    for name in set(re.findall(r"shers_\w+", query)):
        if name not in told and re.sub(r"_(count|sum|bucket)$", "", name) not in told:
            problems.append(f"{who} asks for {name}, which nobody tells")

# Every alert has its page.
headings = set(re.findall(r"^#+ (\w+)$", pathlib.Path("docs/operations.md").read_text(), re.M))
for rule in rules:
    if rule["alert"] not in headings:
        problems.append(f'docs/operations.md has no section {rule["alert"]}')
    expect(f'alert {rule["alert"]}: runbook', rule["annotations"]["runbook_url"].split("#")[1], rule["alert"].lower())

for problem in problems:
    print(problem)
print(f"{len(SERVICES)} services, {len(rules)} alerts, {len(asked)} questions of figures, {len(problems)} problems")
sys.exit(1 if problems else 0)
