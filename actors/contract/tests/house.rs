//! Rules of the house that the compiler does not check: what a pure module may not touch, and who may
//! depend on whom. Reads sources and manifests as plain text, so it needs nothing but the tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Crates that are services. They meet in the contract and never see each other.
const SERVICES: [&str; 8] =
    ["wearable", "triage", "incidents", "dispatch", "notification", "billing", "insurance", "stream"];

/// What a pure module may not name: time, chance, threads, I/O, environment, logs and frameworks.
const IMPURE: [&str; 24] = [
    "tokio",
    "actix",
    "diesel",
    "lapin",
    "reqwest",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "system_now",
    "rand::",
    "getrandom",
    "new_v4",
    "now_v7",
    "std::env",
    "env::var",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::process",
    "tracing::",
    "log::",
    "println!",
];

/// Crates that only some may depend on: the dependency, who may, and why.
const RESERVED: [(&str, &[&str], &str); 9] = [
    ("diesel", &["db"], "SQL lives behind the store port"),
    ("diesel_migrations", &["db"], "SQL lives behind the store port"),
    ("libsqlite3-sys", &["db"], "SQL lives behind the store port"),
    ("lapin", &["bridge", "bench"], "AMQP lives behind the wire port, and bench measures the bare client"),
    ("actix-web", &["web", "web/server", "bench"], "HTTP is served by the web layer, and bench measures a bare server"),
    ("actix-web-actors", &["web", "web/server"], "HTTP is served by the web layer"),
    ("clap", &["web/server", "actors/world", "bench"], "command lines belong to binaries"),
    ("osmpbf", &["actors/roads"], "map files are read by the roads crate"),
    ("fast_paths", &["actors/roads"], "routes are computed by the roads crate"),
];

fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the contract lies two directories below the workspace").to_path_buf()
}

/// All files below `directory` that `wanted` says yes to. Build output and other people's code are left out.
fn files(directory: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && name != "vendor" && !name.starts_with('.') {
                found.extend(files(&path, wanted));
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "rs")
}

/// Pure sources: every `model/` (or `model.rs`) of an actor crate, and the contract. Their tests are code
/// of another kind.
fn is_pure(path: &Path) -> bool {
    let relative = relative(path);
    let test = relative.ends_with("tests.rs") || relative.ends_with("testing.rs") || relative.contains("/tests/");
    let model = relative.contains("/src/model/") || relative.ends_with("/src/model.rs");
    is_rust(path) && !test && relative.starts_with("actors/") && (model || relative.starts_with("actors/contract/src/"))
}

/// The lines of a source that are code: without comments, and up to its test module.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    lines.map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default()))
}

/// Whether `line` holds `word` with nothing of a longer name before it.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The crates a manifest names under `[dependencies]` (and `[build-dependencies]`, `[target…dependencies]`).
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies")
                && section != "dev-dependencies"
                && section != "workspace.dependencies";
            if let Some((_, name)) = section.split_once("dependencies.").filter(|_| !section.starts_with("dev-")) {
                found.push(name.to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default().trim_matches('"');
            if !name.is_empty() {
                found.push(name.to_owned());
            }
        }
    }
    found
}

/// Every crate of the workspace, by its directory, with what it depends on.
fn crates() -> Vec<(String, Vec<String>)> {
    let manifests = files(&root(), &|path| path.file_name().is_some_and(|n| n == "Cargo.toml"));
    let directory = |path: &Path| path.parent().map(relative).unwrap_or_default();
    let all = manifests.iter().filter(|path| !directory(path).is_empty());
    all.map(|path| (directory(path), dependencies(&fs::read_to_string(path).expect("a manifest")))).collect()
}

/// Fails with all findings at once.
fn check(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn pure_modules_name_no_clock_chance_io_environment_log_or_framework() {
    let pure = files(&root(), &is_pure);
    assert!(pure.len() > 10, "found only {} pure sources below {}", pure.len(), root().display());
    let mut findings = Vec::new();
    for path in pure {
        let source = fs::read_to_string(&path).expect("a source");
        for (n, line) in code(&source) {
            for word in IMPURE.iter().filter(|word| names(line, word)) {
                findings.push(format!("{}:{n} names {word}: {}", relative(&path), line.trim()));
            }
        }
    }
    check(findings);
}

#[test]
fn no_service_depends_on_another_service() {
    let mut findings = Vec::new();
    for (directory, dependencies) in crates() {
        let Some(service) = directory.strip_prefix("actors/").filter(|name| SERVICES.contains(name)) else { continue };
        let others = SERVICES.iter().filter(|other| **other != service).map(|other| format!("shers-{other}"));
        findings.extend(others.filter(|o| dependencies.contains(o)).map(|o| format!("{directory} depends on {o}")));
    }
    check(findings);
}

#[test]
fn dependencies_point_from_the_outside_in() {
    let mut findings = Vec::new();
    for (directory, dependencies) in crates() {
        let forbidden: &[&str] = match directory.as_str() {
            "actors/contract" => &["shers-"],
            "actors/runtime" => {
                &["shers-web", "shers-db", "shers-bridge", "shers-roads", "shers-stream", "shers-triage"]
            }
            "db" => &["shers-bridge", "shers-web"],
            "bridge" => &["shers-db", "shers-web"],
            other if other.starts_with("actors/") => &["shers-db", "shers-bridge", "shers-web"],
            _ => &[],
        };
        for dependency in &dependencies {
            if forbidden.iter().any(|f| dependency.starts_with(f)) {
                findings.push(format!("{directory} depends on {dependency}"));
            }
        }
        let foreign = ["db", "bridge"].contains(&directory.as_str());
        let services = SERVICES.iter().map(|s| format!("shers-{s}"));
        if foreign {
            findings
                .extend(services.filter(|s| dependencies.contains(s)).map(|s| format!("{directory} depends on {s}")));
        }
    }
    check(findings);
}

#[test]
fn heavy_crates_are_used_only_where_they_belong() {
    let mut findings = Vec::new();
    for (directory, dependencies) in crates() {
        for (dependency, owners, why) in RESERVED {
            if dependencies.iter().any(|d| d == dependency) && !owners.contains(&directory.as_str()) {
                findings.push(format!("{directory} depends on {dependency}: {why}, so only {} may", owners.join(", ")));
            }
        }
    }
    check(findings);
}

#[test]
fn the_contract_is_pure_down_to_its_dependencies() {
    let all = crates();
    let (_, contract) = all.iter().find(|(d, _)| d == "actors/contract").expect("the contract's manifest");
    let known = ["serde", "serde_json", "thiserror", "jiff", "uuid", "sha2"];
    check(
        contract.iter().filter(|d| !known.contains(&d.as_str())).map(|d| format!("contract depends on {d}")).collect(),
    );
}

#[test]
fn the_reader_of_manifests_sees_every_way_to_name_a_dependency() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n# c = \"1\"\n\
        [dependencies.d]\nversion = \"1\"\n[dev-dependencies]\ne = \"1\"\n[target.'cfg(unix)'.dependencies]\nf = \"1\"\n";
    let found = dependencies(manifest);
    for (name, want) in
        [("a", true), ("b", true), ("c", false), ("d", true), ("e", false), ("f", true), ("name", false)]
    {
        assert_eq!(found.iter().any(|d| d == name), want, "{name} in {found:?}");
    }
}

#[test]
fn the_search_sees_names_and_not_parts_of_names_or_comments() {
    for (line, word, want) in [
        ("use tokio::sync;", "tokio", true),
        ("catalog::find()", "log::", false),
        ("log::info!()", "log::", true),
        ("let operand::x", "rand::", false),
    ] {
        assert_eq!(names(line, word), want, "{line}");
    }
    let source = "a // tokio\n//! actix\nb\n#[cfg(test)]\nmod tests { use tokio; }";
    assert_eq!(code(source).map(|(_, line)| line.trim()).collect::<Vec<_>>(), ["a", "", "b"]);
}
