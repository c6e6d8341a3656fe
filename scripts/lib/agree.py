"""Whether chart, compose file, Dockerfiles and gateway agree with each other, and with what the program itself prints.

    agree.py SHERS RENDERED.yaml...     SHERS is the program; its `config` is run with the environment of each container

A container's environment is the image's (Dockerfile) under the one that chart or compose give it; what is in secrets is made
up. `shers config` opens nothing and refuses what it does not know, so a variable with a typing error fails here and not in
the cluster.
"""
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import yaml

SERVICES = ["wearable", "triage", "incidents", "dispatch", "notification", "billing", "insurance", "stream"]
IMAGES = sorted(SERVICES + ["gateway"])
# Keys of a providers' secret, as docs and chart name them.
PROVIDER_KEYS = {"SHERS_BILLING__STRIPE_KEY": "sk_test_0123456789abcdef0123456789", "SHERS_NOTIFICATION__AWS__ACCESS_KEY_ID": "AKIAEXAMPLE",
                 "SHERS_NOTIFICATION__AWS__SECRET_ACCESS_KEY": "example"}
problems = []
shers = None
counted = 0


def need(holds, text):
    global counted
    counted += 1
    if not holds:
        problems.append(text)


def read(path):
    return pathlib.Path(path).read_text()


def dockerfile(image):
    """What the last stage says: instruction -> list of arguments; ENV as a dict."""
    lines, said = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", read(f"docker/{image}.Dockerfile"), flags=re.M)).splitlines(), {}
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            said = {"ENV": {}}
        elif word == "ENV":
            said["ENV"].update(pair.split("=", 1) for pair in shlex.split(rest))
        elif word:
            said.setdefault(word, []).append(rest.strip())
    return said


def run(arguments, environment):
    asked = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([shers, *arguments], env=asked, capture_output=True, text=True, timeout=60, check=False)


def config(where, environment):
    """What the program understands of an environment; None if it refuses."""
    done = run(["config"], environment)
    # A build without real providers says so of each; the images are built with them.
    lines = re.findall(r"^\s*- (.*)$", done.stderr, re.M)
    if done.returncode and lines and all("not in this build" in line for line in lines):
        names = [name for name in environment if name.endswith("__PROVIDER")]
        done = run(["config"], {name: value for name, value in environment.items() if name not in names})
    need(done.returncode == 0, f"{where}: shers config refuses:\n{done.stderr.strip()}")
    return tomllib.loads(done.stdout) if done.returncode == 0 else None


def port_of(address):
    return int(str(address).rpartition(":")[2])


def check_images():
    listed = re.search(r"^IMAGES=\((.*)\)$", read("scripts/images"), re.M)
    need(listed and sorted(listed.group(1).split()) == IMAGES, "scripts/images builds others")
    need(sorted(p.name.partition(".")[0] for p in pathlib.Path("docker").glob("*.Dockerfile")) == IMAGES, "docker/ has other Dockerfiles")
    for script, pattern in (("gitops-bump", r'^known="(.*)"$'), ("minikube-up", r"^images=\((.*)\)$"), ("minikube-up.bat", r"^for %%i in \((.*)\) do")):
        listed = re.search(pattern, read(f"scripts/{script}").replace("\r", ""), re.M)
        need(listed and sorted(listed.group(1).split()) == IMAGES, f"scripts/{script} knows others")
    tags = yaml.safe_load(read("helm/argocd/images.yaml"))["image"]["tags"]
    need(sorted(tags) == IMAGES, "helm/argocd/images.yaml names others")
    schema = json.loads(read("helm/shers/values.schema.json"))["properties"]
    need(sorted(schema["image"]["properties"]["tags"]["properties"]) == IMAGES, "the chart's schema has other image.tags")
    need(sorted(schema["services"]["properties"]) == sorted(SERVICES), "the chart's schema has other services")
    for service in SERVICES:
        said = dockerfile(service)
        own = config(f"docker/{service}.Dockerfile", {**said["ENV"], "SHERS_AMQP__URL": "amqp://u:p@h/%2f", "SHERS_DATABASE__URL": "postgres://u:p@h/d",
                                                       "SHERS_TOKEN": "0" * 32, "SHERS_BILLING__INSURER_URL": "http://h:1"})
        if own:
            need(own["services"] == [service], f"docker/{service}.Dockerfile runs {own['services']}")
            need([port_of(own["listen"])] == [int(p) for p in said["EXPOSE"]], f"docker/{service}.Dockerfile exposes {said['EXPOSE']}, listens on {own['listen']}")
            need(not own["listen"].startswith("127."), f"docker/{service}.Dockerfile listens on loopback only")
        user = said.get("USER", ["root"])[-1]
        need(user.partition(":")[0].isdigit() and not user.startswith("0"), f"docker/{service}.Dockerfile runs as {user}")


def mounted(volumes, mounts):
    """Paths of files that a pod mounts from secrets."""
    of = {v["name"]: v for v in volumes}
    return {f"{m['mountPath']}/{item['path']}" for m in mounts for item in of[m["name"]].get("secret", {}).get("items", [])}


def check_process(where, own, files, port):
    """What a process understood against what is around it."""
    if own is None:
        return
    need(port_of(own["listen"]) == port, f"{where}: listens on {own['listen']}, reached at {port}")
    for section, key in (("", "token_file"), ("", "jwks_file"), ("", "insurer_token_file"), ("amqp", "url_file"), ("amqp", "ca_file"),
                         ("database", "url_file"), ("database", "ca_file")):
        path = (own.get(section, {}) if section else own).get(key)
        need(path is None or path in files, f"{where}: {section}.{key} is {path}, which is not mounted ({sorted(files)})")


def environment_of(container, image):
    environment = dict(dockerfile(image)["ENV"])
    for entry in container.get("env", []):
        environment[entry["name"]] = entry.get("value", "from-the-field")
    if container.get("envFrom"):
        environment |= PROVIDER_KEYS
    return environment


def check_chart(path):
    objects = [d for d in yaml.safe_load_all(read(path)) if d]
    name = pathlib.Path(path).stem.removeprefix("rendered-")
    services = {d["metadata"]["name"]: d for d in objects if d["kind"] == "Service"}
    ran = 0
    for d in objects:
        if d["kind"] not in ("Deployment", "Rollout"):
            continue
        pod, labels = d["spec"]["template"]["spec"], d["spec"]["template"]["metadata"]["labels"]
        component = labels["app.kubernetes.io/component"]
        where = f"{name}/{component}"
        container = pod["containers"][0]
        image = container["image"].split("@")[0].rpartition(":")[0].rpartition("/")[2]
        need(image == component, f"{where} runs the image {image}")
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        said = dockerfile(image)
        need([int(p) for p in said["EXPOSE"]] == list(ports.values()), f"{where}: ports {ports}, the image exposes {said['EXPOSE']}")
        user = int(said["USER"][-1].partition(":")[0])
        need(pod["securityContext"]["runAsUser"] == user, f"{where}: runs as {pod['securityContext']['runAsUser']}, the image as {user}")
        service = services[d["metadata"]["name"]]
        need(all(ports.get(p["targetPort"]) for p in service["spec"]["ports"]), f"{where}: the Service aims at no port of it")
        for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
            check_probe(f"{where} {kind}", container[kind]["httpGet"], ports, image)
        if component == "gateway":
            check_gateway_targets(where, {e["name"]: e["value"] for e in container["env"]}, {n: s["spec"]["ports"][0]["port"] for n, s in services.items()})
            continue
        ran += 1
        for one in [container] + [c for c in pod["initContainers"] if c["name"] == "migrate"]:
            own = config(f"{where}/{one['name']}", environment_of(one, image))
            check_process(f"{where}/{one['name']}", own, mounted(pod["volumes"], one["volumeMounts"]), ports["http"])
            if own is None:
                continue
            need(own["services"] == [component], f"{where}: runs {own['services']}")
            host, _, port = own["billing"]["insurer_url"].removeprefix("http://").partition(":")
            need(host in services or component != "billing", f"{where}: the insurer {host} is no Service")
            need(host not in services or services[host]["spec"]["ports"][0]["port"] == int(port), f"{where}: the insurer's port {port}")
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            grace = pod["terminationGracePeriodSeconds"]
            need(grace > pause + own["web"]["drain_s"], f"{where}: {grace} s to end, {pause} + {own['web']['drain_s']} s to drain")
    need(ran == len(SERVICES), f"{name}: {ran} services were looked at")
    for d in objects:
        if d["kind"] == "Pod":
            container = d["spec"]["containers"][0]
            config(f"{name}/{d['metadata']['name']}", environment_of(container, "stream"))
            host = re.search(r"http://([^:/]+):(\d+)", " ".join(container["args"]))
            need(host and host.group(1) in services and services[host.group(1)]["spec"]["ports"][0]["port"] == int(host.group(2)),
                 f"{name}/{d['metadata']['name']}: asks {container['args']}")


def routes():
    return set(re.findall(r'"(/[^"\s]*)",\s*(?:Access::Public|READERS|Access::Ticket)', read("web/src/routes.rs")))


def check_probe(where, probe, ports, image):
    need(probe["port"] in ports, f"{where}: port {probe['port']}")
    if image == "gateway":
        need(f"location = {probe['path']} " in read("docker/nginx/templates/nginx.conf.template"), f"{where}: the gateway has no {probe['path']}")
    else:
        need(probe["path"] in routes(), f"{where}: no public route {probe['path']}")


def gateway_services():
    listed = re.search(r"^for service in (.*); do$", read("docker/nginx/gateway.sh"), re.M)
    return listed.group(1).split() if listed else []


def check_gateway_targets(where, environment, ports):
    known = set(re.findall(r"SHERS_GATEWAY_[A-Z_]+", read("docker/nginx/gateway.sh") + read("docker/nginx/templates/nginx.conf.template")))
    known |= {f"SHERS_GATEWAY_{service.upper()}" for service in gateway_services()}
    for variable in environment:
        need(not variable.startswith("SHERS_") or variable in known, f"{where}: the gateway knows no {variable}")
    for service in gateway_services():
        target = environment.get(f"SHERS_GATEWAY_{service.upper()}", f"{service}:8080")
        host, _, port = target.partition(":")
        need(ports.get(host) == int(port), f"{where}: {service} is sought at {target}; there are {sorted(ports)}")


def check_gateway():
    own = config("the defaults", {})
    script, template = read("docker/nginx/gateway.sh"), read("docker/nginx/templates/nginx.conf.template")
    default = dict(re.findall(r'SHERS_GATEWAY_([A-Z_]+)="\$\{SHERS_GATEWAY_[A-Z_]+:-([^}]*)\}"', script))
    need(int(default["BODY"].removesuffix("m")) * 1024 * 1024 == own["web"]["body_bytes"], f"bodies: gateway {default['BODY']}, services {own['web']['body_bytes']}")
    need(int(default["READ_S"]) * 1000 > own["web"]["ask_ms"], "the gateway gives up before a service says that an outcome is unknown")
    stream = re.search(r"location = /api/v1/stream \{.*?proxy_read_timeout (\d+)s", template, re.S)
    need(stream and int(stream.group(1)) * 1000 > 2 * own["web"]["stream"]["heartbeat_ms"], "the gateway ends a stream between two heartbeats")
    need(set(re.findall(r"^    [^#\n]* ([a-z]+);$", template.partition("map $shers_service")[0], re.M)) - {"stream"} <= set(gateway_services()), "the gateway routes to others")
    said = dockerfile("gateway")
    need(said["ENV"].get("SHERS_GATEWAY_LISTEN", default["LISTEN"]) == said["EXPOSE"][0], "the gateway's port")
    health = " ".join(said["HEALTHCHECK"])
    need(f"http://127.0.0.1:{said['EXPOSE'][0]}/health/gateway" in health, f"the gateway's health check: {health}")


def check_compose():
    whole = yaml.safe_load(read("docker/compose.yaml"))
    services = whole["services"]
    secrets = set(whole["secrets"])
    ports = {}
    for service in SERVICES:
        of = services.get(service)
        need(of is not None, f"compose lacks {service}")
        ports[service] = int(dockerfile(service)["EXPOSE"][0])
    for service, of in services.items():
        image = re.fullmatch(r"\$\{SHERS_REGISTRY:-shers\}/([a-z]+):\$\{SHERS_TAG:-latest\}", of["image"])
        if not image:
            continue
        image, where = image.group(1), f"compose/{service}"
        need(image in IMAGES, f"{where}: image {image}")
        need(service not in IMAGES or image == service, f"{where} runs the image {image}")
        if "build" in of:
            need(of["build"]["dockerfile"] == f"docker/{image}.Dockerfile", f"{where} is built from {of['build']['dockerfile']}")
        given = {name: re.sub(r"^\$\{[A-Z_]+:-(.*)\}$", r"\1", str(value)) for name, value in of.get("environment", {}).items() if value is not None}
        if image == "gateway":
            check_gateway_targets(where, given, ports)
            need(all(str(p).endswith(f":{dockerfile('gateway')['EXPOSE'][0]}") for p in of["ports"]), f"{where}: ports {of['ports']}")
            continue
        need(set(of.get("secrets", [])) <= secrets, f"{where}: secrets that are not there")
        own = config(where, {**dockerfile(image)["ENV"], **given})
        check_process(where, own, {f"/run/secrets/{secret}" for secret in of.get("secrets", [])}, ports[image])
        if own and service in SERVICES:
            need(own["services"] == [service], f"{where}: runs {own['services']}")
            host, _, port = own["billing"]["insurer_url"].removeprefix("http://").partition(":")
            need(ports.get(host) == int(port), f"{where}: the insurer is sought at {host}:{port}")
            grace = int(str(of["stop_grace_period"]).removesuffix("s"))
            need(grace > own["web"]["drain_s"], f"{where}: {grace} s to end, {own['web']['drain_s']} s to drain")


def check_topology(rendered):
    done = run(["topology"], {})
    need(done.returncode == 0, f"shers topology: {done.stderr}")
    said = json.loads(done.stdout or "{}")
    queues = [q["name"] for q in said.get("queues", [])]
    partitions = {s: sum(1 for q in queues if re.fullmatch(rf"{s}\.p\d\d", q)) for s in SERVICES}
    need(any(partitions.values()), "shers topology declares no partition")
    free = sorted(s for s, n in partitions.items() if n == 0)
    schema = json.loads(read("helm/shers/values.schema.json"))
    allowed = sorted(schema["properties"]["rollouts"]["properties"]["services"]["items"]["enum"])
    need(allowed == free, f"Rollouts are allowed for {allowed}; without partitions are {free}")
    need(schema["definitions"]["autoscaling"]["properties"]["maxReplicas"]["maximum"] == max(partitions.values()), "maxReplicas against the partitions")
    alert = next(a for a in yaml.safe_load(re.sub(r"\{\{.*?\}\}", "", read("helm/shers/alerts.yaml"))) if a["alert"] == "ShersPartitionsWithoutOwner")
    asked = {service: int(count) for group, count in re.findall(r'service=~"([a-z|]+)"\}\) < (\d+)', alert["expr"]) for service in group.split("|")}
    need(asked == {s: n for s, n in partitions.items() if n}, f"the alert asks for {asked}; declared are {partitions}")
    # What the broker's user may touch, as the page for operators gives it.
    permitted = re.search(r"^  `(\^\(shers.*\)\$)`", read("docs/amqp.md"), re.M)
    need(permitted, "docs/amqp.md gives no permissions")
    for thing in queues + [e["name"] for e in said.get("exchanges", [])]:
        need(permitted and re.search(permitted.group(1), thing), f"docs/amqp.md: its permissions leave out {thing}")
    exchange = config("the defaults", {})["amqp"]["exchange"]
    need(exchange in [e["name"] for e in said.get("exchanges", [])], f"shers config says {exchange}, shers topology does not")


def main():
    global shers
    shers, *rendered = sys.argv[1:]
    need(run(["config"], {"SHERS_NONSENSE": "1"}).returncode != 0, "shers config takes a variable that it can't know")
    check_images()
    check_gateway()
    check_compose()
    for path in rendered:
        check_chart(path)
    check_topology(rendered)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{counted} questions, {len(problems)} disagreements")
    sys.exit(bool(problems))


main()
