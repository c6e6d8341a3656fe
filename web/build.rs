//! Writes a table of the dashboard's files, so that the binary carries them.
//!
//! Everything a browser may ask for goes in; tests, type declarations and the tools' own files stay out.

use std::{env, fmt::Write as _, fs, io, path::Path};

const SERVED: [&str; 9] = ["html", "js", "css", "svg", "png", "ico", "woff2", "webmanifest", "txt"];
const LEFT_OUT: [&str; 3] = ["tests", "node_modules", "test-results"];

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("dashboard");
    println!("cargo:rerun-if-changed={}", root.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut files = Vec::new();
    if root.is_dir() {
        collect(&root, "", &mut files)?;
    }
    files.sort();
    let mut table = String::from("pub(crate) static FILES: &[(&str, &[u8])] = &[\n");
    for name in files {
        println!("cargo:rerun-if-changed={}", root.join(&name).display());
        let path = root.join(&name).display().to_string();
        writeln!(table, "    ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
    }
    table.push_str("];\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("dashboard.rs"), table)
}

/// Names of the files to serve below `dir`, relative to the dashboard's folder.
fn collect(dir: &Path, prefix: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files)?;
        } else if served(&path, &name) {
            files.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

fn served(path: &Path, name: &str) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    name.starts_with("LICENSE") || (SERVED.contains(&extension) && !name.contains(".config."))
}
