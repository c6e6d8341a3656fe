"""The licences and sources of all crates against deny.toml, by `cargo metadata` on standard input: what of cargo-deny needs
no database and no further tool."""

import json
import re
import sys
import tomllib

deny = tomllib.load(open("deny.toml", "rb"))
allowed = set(deny["licenses"]["allow"])
exceptions = {e["crate"]: set(e["allow"]) for e in deny["licenses"].get("exceptions", [])}
banned = {b["crate"] for b in deny["bans"]["deny"]}
registries = {f"registry+{r}" for r in deny["sources"]["allow-registry"]}


def satisfied(expression, names):
    """Whether an SPDX expression can be met by these licences. An old "/" means OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def any_of():
        value = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = all_of() or value
        return value

    def all_of():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = one() and value
        return value

    def one():
        token = tokens.pop(0)
        if token == "(":
            value = any_of()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in names

    return any_of()


assert satisfied("(MIT OR X) AND Y", {"MIT", "Y"}) and not satisfied("(MIT OR X) AND Y", {"MIT"})
packages = json.load(sys.stdin)["packages"]
problems = []
for package in packages:
    name = f'{package["name"]} {package["version"]}'
    if package["source"] is not None and package["source"] not in registries:
        problems.append(f'{name} comes from {package["source"]}')
    if package["name"] in banned:
        problems.append(f"{name} is banned")
    if not satisfied(package["license"] or "none", allowed | exceptions.get(package["name"], set())):
        problems.append(f'{name} has the licence {package["license"]}, which deny.toml does not allow')
print(*problems, f"{len(packages)} crates, {len(problems)} problems", sep="\n")
sys.exit(1 if problems else 0)
