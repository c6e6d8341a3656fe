"""The licences, sources and wildcards of all crates against deny.toml, by `cargo metadata` on standard input: what of cargo-deny
needs no database and no further tool. And that the reasons which deny.toml gives still hold."""

import json
import re
import sys
import tomllib
from pathlib import Path

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
    if package["source"] is None:
        problems += [f'{name} takes any version of {d["name"]}' for d in package["dependencies"] if d["req"] == "*" and not d.get("path")]
said = set(re.findall(r"[^\s()/]+", " ".join(p["license"] or "" for p in packages)))
problems += [f"deny.toml allows {name}, which no crate has" for name in sorted(allowed) if not set(name.split()) <= said]
problems += [f"deny.toml excepts {name}, which is no crate here" for name in sorted(exceptions) if name not in {p["name"] for p in packages}]

# The one weakness that is ignored is of signing with RSA.
for file in (f for part in ("actors", "bridge", "db", "web") for f in Path(part).rglob("src/**/*.rs")):
    if re.search(r"\bEncodingKey::from_rsa|\brsa::|\bRsaPrivateKey\b", file.read_text()):
        problems.append(f"{file} signs with RSA; deny.toml ignores RUSTSEC-2023-0071 because nothing does")

print(*problems, f"{len(packages)} crates, {len(problems)} problems", sep="\n")
sys.exit(1 if problems else 0)
