"""What must hold of a rendered chart, beyond what its schemas say.

    chart.py objects RENDERED.yaml OUT          invariants; OUT.native.yaml and OUT.custom.json for the validators
    chart.py project ARGOCD.yaml RENDERED...    the AppProjects allow exactly what the charts render, where it goes
    chart.py environments ARGOCD.yaml           a line for each application of the house: namespace, Helm's arguments
    chart.py metrics                            alerts, dashboard and analyses name metrics and labels of the code only
    chart.py runbook                            each alert has its section in docs/operations.md, and no section is left over
"""
import json
import pathlib
import re
import subprocess
import sys

import yaml

CUSTOM = ("argoproj.io/", "monitoring.coreos.com/")
SERVICES = {"wearable", "triage", "incidents", "dispatch", "notification", "billing", "insurance", "stream"}
problems = []


def need(holds, text):
    if not holds:
        problems.append(text)


def documents(path):
    return [d for d in yaml.safe_load_all(pathlib.Path(path).read_text()) if d]


def name_of(d):
    return f"{d['kind']} {d['metadata']['name']}"


def pod_of(d):
    if d["kind"] == "Pod":
        return d["spec"]
    template = d.get("spec", {}).get("template")
    return template["spec"] if isinstance(template, dict) and "spec" in template else None


def check_pod(d, pod):
    at = name_of(d)
    need(pod.get("enableServiceLinks") is False, f"{at}: service links become SHERS_* variables")
    need(pod.get("automountServiceAccountToken") is False, f"{at}: has a service account's token")
    security = pod.get("securityContext", {})
    need(security.get("runAsNonRoot") is True and security.get("runAsUser", 0) > 0, f"{at}: may be root")
    need(security.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{at}: no seccomp profile")
    for container in pod.get("initContainers", []) + pod["containers"]:
        where = f"{at}/{container['name']}"
        own = container.get("securityContext", {})
        need(own.get("readOnlyRootFilesystem") is True, f"{where}: root can be written")
        need(own.get("allowPrivilegeEscalation") is False, f"{where}: may escalate")
        need(own.get("capabilities") == {"drop": ["ALL"]}, f"{where}: keeps capabilities")
        resources = container.get("resources", {})
        need({"cpu", "memory"} <= resources.get("requests", {}).keys(), f"{where}: no requests")
        need("memory" in resources.get("limits", {}), f"{where}: no limit of memory")
        names = [entry["name"] for entry in container.get("env", [])]
        need(len(names) == len(set(names)), f"{where}: a variable is given twice")
    if d["kind"] in ("Deployment", "Rollout", "StatefulSet"):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            need(probe in pod["containers"][0], f"{at}: no {probe}")
        need(pod.get("terminationGracePeriodSeconds", 0) >= 30, f"{at}: no time to drain")
    if d["kind"] in ("Deployment", "Rollout"):
        need(pod.get("topologySpreadConstraints"), f"{at}: not spread")


def check_objects(rendered, out):
    all_of = documents(rendered)
    names = [name_of(d) for d in all_of]
    need(len(names) == len(set(names)), "two objects of one name: " + ", ".join(sorted({n for n in names if names.count(n) > 1})))
    runs = {}
    for d in all_of:
        pod = pod_of(d)
        if pod:
            check_pod(d, pod)
        if d["kind"] in ("Deployment", "Rollout", "StatefulSet"):
            component = d["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
            need(component not in runs, f"{component} is run by two objects")
            runs[component] = d
            labels = d["spec"]["template"]["metadata"]["labels"]
            need(d["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{name_of(d)}: selects other pods")
            need("helm.sh/chart" not in labels, f"{name_of(d)}: a new chart alone restarts its pods")
            if d["kind"] == "Rollout":
                need(component in ("wearable", "insurance"), f"{component} owns partitions and is no Rollout")
                templates = {t["metadata"]["name"] for t in all_of if t["kind"] == "AnalysisTemplate"}
                asked = [t["templateName"] for step in d["spec"]["strategy"]["canary"]["steps"] for t in step.get("analysis", {}).get("templates", [])]
                need(asked and set(asked) <= templates, f"{name_of(d)}: asks analyses {asked}, there are {templates}")
    policies = {d["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component") for d in all_of if d["kind"] == "NetworkPolicy"}
    need(not policies or policies == set(runs), f"policies for {sorted(map(str, policies))}, not for {sorted(runs)}")
    scaled = {}
    for d in all_of:
        component = d["metadata"].get("labels", {}).get("app.kubernetes.io/component")
        if d["kind"] == "HorizontalPodAutoscaler":
            target = d["spec"]["scaleTargetRef"]
            own = runs.get(component)
            need(own and (target["apiVersion"], target["kind"], target["name"]) == (own["apiVersion"], own["kind"], own["metadata"]["name"]),
                 f"{name_of(d)} aims at {target}, which is not there")
            need(own and "replicas" not in own["spec"], f"{name_of(d)}: replicas beside an HPA")
            need(d["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 75, f"{name_of(d)}: not 75 %")
            scaled[component] = d["spec"]["minReplicas"]
    budgets = {d["metadata"]["labels"]["app.kubernetes.io/component"] for d in all_of if d["kind"] == "PodDisruptionBudget"}
    for component, d in runs.items():
        least = scaled.get(component, d["spec"].get("replicas", 1))
        need((least > 1) == (component in budgets), f"{component}: at least {least} replicas, budget {component in budgets}")
    services = {d["spec"]["selector"]["app.kubernetes.io/component"] for d in all_of if d["kind"] == "Service"}
    need(services == set(runs), f"Services for {sorted(services)}, not for {sorted(runs)}")
    native = [d for d in all_of if not d["apiVersion"].startswith(CUSTOM)]
    pathlib.Path(out + ".native.yaml").write_text(yaml.safe_dump_all(native))
    pathlib.Path(out + ".custom.json").write_text(json.dumps([d for d in all_of if d["apiVersion"].startswith(CUSTOM)]))
    print(len(all_of), "objects")


def check_project(projects, rendered):
    house = next(d for d in documents(projects) if d["kind"] == "AppProject" and d["metadata"]["name"] == "shers")
    allowed = {(k["group"], k["kind"]) for k in house["spec"]["namespaceResourceWhitelist"]}
    made = set()
    for path in rendered:
        for d in documents(path):
            if "helm.sh/hook" not in d["metadata"].get("annotations", {}):
                group = d["apiVersion"].rpartition("/")[0]
                made.add((group, d["kind"]))
    need(made <= allowed, f"the AppProject refuses {sorted(made - allowed)}")
    need(allowed <= made, f"the AppProject allows more than the chart has: {sorted(allowed - made)}")
    for project in (d for d in documents(projects) if d["kind"] == "AppProject"):
        spec = project["spec"]
        for word in spec["sourceRepos"] + [v for to in spec["destinations"] for v in to.values()]:
            need("*" not in word, f"{name_of(project)}: a wildcard, {word}")
    of_project = {d["metadata"]["name"]: d["spec"] for d in documents(projects) if d["kind"] == "AppProject"}
    applications = [d for d in documents(projects) if d["kind"] == "Application"]
    need(len(applications) > 1, "no application beside the root")
    kinds = {(d["apiVersion"].rpartition("/")[0], d["kind"]) for d in documents(projects)}
    roots = {(k["group"], k["kind"]) for k in of_project["shers-root"]["namespaceResourceWhitelist"]}
    need(kinds == roots, f"the root renders {sorted(kinds)}, its project allows {sorted(roots)}")
    for application in applications:
        at, spec = name_of(application), application["spec"]
        project = of_project.get(spec["project"])
        need(project, f"{at}: project {spec['project']}")
        if project:
            need(spec["destination"] in project["destinations"], f"{at}: its project does not let it into {spec['destination']}")
            need(spec["source"]["repoURL"] in project["sourceRepos"], f"{at}: its project does not take {spec['source']['repoURL']}")
        for values in spec["source"]["helm"].get("valueFiles", []):
            path = pathlib.Path(spec["source"]["path"]) / values
            need(path.is_file(), f"{at}: {path} is not there")
    goes = {a["spec"]["destination"]["namespace"] for a in applications if a["spec"]["project"] == "shers"}
    need(goes == {to["namespace"] for to in of_project["shers"]["destinations"]}, f"the house goes to {sorted(goes)}, its project lets it further")


def list_environments(rendered):
    found = [d["spec"] for d in documents(rendered) if d["kind"] == "Application" and d["spec"]["project"] == "shers"]
    need(found, "no application of the house")
    for spec in found:
        helm = spec["source"]["helm"]
        words = [f"-f {pathlib.Path(spec['source']['path']) / values}" for values in helm["valueFiles"]]
        words += [f"--set-string {one['name']}={one['value']}" for one in helm.get("parameters", [])]
        print(spec["destination"]["namespace"], *words)


# What Prometheus and the ServiceMonitor add to each sample.
ADDED = {"namespace", "pod", "component", "instance", "job", "quantile", "le"}


def metrics_of_code():
    """Name -> (kind, labels), from the source; labels are None where they are put together elsewhere."""
    found = {}
    files = subprocess.run(["git", "ls-files", "*.rs"], check=True, capture_output=True, text=True).stdout.split()
    for path in files:
        if "/tests/" in path:
            continue
        text = pathlib.Path(path).read_text()
        for match in re.finditer(r'metrics::(counter|gauge|histogram)!\(\s*"([a-z0-9_]+)"((?:[^()]|\([^()]*(?:\([^()]*\))*[^()]*\))*)\)', text):
            kind, name, rest = match.groups()
            labels = set(re.findall(r'"([a-z_]+)"\s*=>', rest))
            if "&labels" in rest:
                listed = re.findall(r"let labels = \[(.*?)\];", text, re.S)
                labels |= set(re.findall(r'\("([a-z_]+)"', " ".join(listed)))
            found.setdefault(name, (kind, set()))[1].update(labels)
    return found


# Words of PromQL that stand where a metric could.
WORDS = set("sum rate increase max min count topk by without on ignoring group_left or and unless offset bool absent vector clamp_min label_values histogram_quantile".split())


def check_expression(where, expr, known):
    """Every metric and label of an expression exists. Templates' own {{…}} are taken for part of a value."""
    text = re.sub(r"\{\{.*?\}\}", "x", expr).replace("$__rate_interval", "5m")
    grouped = re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", text)
    bare = re.sub(r"\b(?:by|without)\s*\([^)]*\)", "", text)
    names = re.findall(r"[a-zA-Z_][a-zA-Z0-9_]*", re.sub(r'"[^"]*"', '""', re.sub(r"\[[^\]]*\]|\{[^}]*\}", "", bare)))
    used = {n for n in names if n not in WORDS}
    of_all = set(ADDED)
    need(used, f"{where}: names no metric")
    for name in sorted(used):
        base = re.sub(r"_(count|sum)$", "", name)
        if name not in known and not (base in known and known[base][0] == "histogram"):
            if re.fullmatch(r"\d*[smhdw]|x", name):
                continue
            problems.append(f"{where}: no metric {name} in the code")
            continue
        kind, labels = known.get(name) or known[base]
        of_all |= labels
        # The exporter gives histograms as quantiles, a sum and a count: there are no buckets.
        for selector in re.findall(re.escape(name) + r"\s*\{([^}]*)\}", bare):
            asked = set(re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)', re.sub(r'"[^"]*"', '""', selector)))
            need(asked <= labels | ADDED, f"{where}: {name} has no label {sorted(asked - labels - ADDED)}")
            need("quantile" not in asked or (kind == "histogram" and name == base), f"{where}: {name} has no quantiles")
    for group in grouped:
        wanted = {label.strip() for label in group.split(",")}
        need(wanted <= of_all, f"{where}: grouped by {sorted(wanted - of_all)}, which no sample has")


def expressions(rendered):
    for path in rendered:
        for d in documents(path):
            if d["kind"] == "PrometheusRule":
                for group in d["spec"]["groups"]:
                    for rule in group["rules"]:
                        yield f"alert {rule['alert']}", rule["expr"]
            if d["kind"] == "AnalysisTemplate":
                for metric in d["spec"]["metrics"]:
                    yield f"{name_of(d)}/{metric['name']}", metric["provider"]["prometheus"]["query"]
            if d["kind"] == "ConfigMap" and "shers.json" in d.get("data", {}):
                dashboard = json.loads(d["data"]["shers.json"])
                ids = [panel["id"] for panel in dashboard["panels"]]
                need(len(ids) == len(set(ids)), "the dashboard has two panels of one id")
                for panel in dashboard["panels"]:
                    for target in panel.get("targets", []):
                        yield f"panel {panel['title']!r}", target["expr"]
                for variable in dashboard["templating"]["list"]:
                    if variable["type"] == "query":
                        yield f"variable {variable['name']}", re.sub(r",\s*\w+\)", ")", variable["query"]["query"])


def check_metrics(rendered):
    known = metrics_of_code()
    need(len(known) > 40, f"only {len(known)} metrics were found in the code")
    seen = {}
    for where, expr in expressions(rendered):
        seen.setdefault(where.split()[0], 0)
        seen[where.split()[0]] += 1
        need("_bucket" not in expr, f"{where}: the exporter gives no buckets")
        check_expression(where, expr, known)
    for kind in ("alert", "panel", "AnalysisTemplate", "variable"):
        need(seen.get(kind), f"no {kind} was looked at")
    print(len(known), "metrics in the code;", ", ".join(f"{n} {kind}" for kind, n in sorted(seen.items())))


def anchor(heading):
    return re.sub(r"[^a-z0-9 _-]", "", heading.strip().lower()).replace(" ", "-")


def check_runbook(rendered):
    page = pathlib.Path("docs/operations.md").read_text()
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    anchors = [anchor(h) for h in headings]
    alerts = {}
    for path in rendered:
        for d in documents(path):
            if d["kind"] == "PrometheusRule":
                for group in d["spec"]["groups"]:
                    for rule in group["rules"]:
                        alerts[rule["alert"]] = rule["annotations"]["runbook_url"]
    need(alerts, "no alert was looked at")
    for alert, url in alerts.items():
        page_of, _, place = url.partition("#")
        need(page_of.endswith("docs/operations.md"), f"{alert}: {url} is another page")
        need(anchors.count(place) == 1, f"{alert}: {anchors.count(place)} headings for {url}")
    for heading in headings:
        need(not heading.startswith("Shers") or heading in alerts, f"docs/operations.md: {heading} is no alert")
    for alert in alerts:
        text = re.search(rf"^#+ {alert}$(.*?)(?=^#|\Z)", page, re.M | re.S)
        need(text and len(text.group(1).split()) > 25, f"docs/operations.md: {alert} says nothing")
    print(len(alerts), "alerts")


def main():
    command, *rest = sys.argv[1:]
    {"objects": lambda: check_objects(*rest), "project": lambda: check_project(rest[0], rest[1:]),
     "environments": lambda: list_environments(*rest), "metrics": lambda: check_metrics(rest), "runbook": lambda: check_runbook(rest)}[command]()
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


main()
