//! The arrows of `src/lib.rs`: a module names with `crate::` only what stands behind it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What each module may use, besides what serves all of them.
const ARROWS: [(&str, &[&str]); 17] = [
    ("main", &["command", "cli", "config", "telemetry"]),
    (
        "command",
        &[
            "cli",
            "config",
            "front",
            "loadtest",
            "engine",
            "admission",
            "transformer",
            "item",
            "pixel",
            "predictor",
            "wire",
        ],
    ),
    (
        "config",
        &[
            "cli",
            "front",
            "engine",
            "admission",
            "transformer",
            "item",
            "pixel",
            "predictor",
        ],
    ),
    ("cli", &[]),
    (
        "front",
        &[
            "engine",
            "admission",
            "transformer",
            "item",
            "pixel",
            "predictor",
            "wire",
        ],
    ),
    ("loadtest", &["predictor", "wire"]),
    (
        "engine",
        &["admission", "transformer", "predictor", "item", "pixel"],
    ),
    ("admission", &[]),
    ("transformer", &["item", "pixel", "predictor", "wire"]),
    ("item", &[]),
    ("predictor", &["wire"]),
    ("pixel", &[]),
    ("wire", &[]),
    // What serves all of them.
    (
        "error",
        &["admission", "item", "pixel", "predictor", "wire"],
    ),
    ("metrics", &["timing"]),
    ("statistics", &["timing"]),
    ("workers", &[]),
];

/// Usable from everywhere but the leaves.
const SERVING_ALL: [&str; 7] = [
    "error",
    "timing",
    "metrics",
    "statistics",
    "workers",
    "telemetry",
    "shutdown",
];

/// These import nothing of ours.
const LEAVES: [&str; 2] = ["pixel", "wire"];

#[test]
fn the_arrows_point_one_way() {
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    for file in &files {
        let path = file.strip_prefix("src").unwrap();
        let first = path
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = first.trim_end_matches(".rs");
        let text = fs::read_to_string(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for used in names(code) {
                let allowed = module == "lib"
                    || used == module
                    || arrows
                        .get(module)
                        .is_some_and(|arrows| arrows.contains(&used))
                    || !LEAVES.contains(&module) && SERVING_ALL.contains(&used);
                if !allowed {
                    wrong.push(format!(
                        "{}:{}: {module} → {used}",
                        file.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(files.len() > 20, "the sources were not found");
    assert!(
        wrong.is_empty(),
        "arrows that point the wrong way:\n{}",
        wrong.join("\n")
    );
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The modules behind each `crate::`, those in braces too.
fn names(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for own in ["crate::", "facequality_transformer::"] {
        for (at, _) in code.match_indices(own) {
            let rest = &code[at + own.len()..];
            match rest.strip_prefix('{') {
                Some(list) => {
                    let list = list.split('}').next().unwrap_or(list);
                    names.extend(
                        list.split(',')
                            .map(|path| path.trim().split("::").next().unwrap_or_default()),
                    );
                }
                None => {
                    let end = rest
                        .find(|c: char| !c.is_alphanumeric() && c != '_')
                        .unwrap_or(rest.len());
                    names.push(&rest[..end]);
                }
            }
        }
    }
    names.retain(|name| !name.is_empty() && name.starts_with(|c: char| c.is_lowercase()));
    names
}

#[test]
fn names_are_read_in_all_their_forms() {
    assert_eq!(
        names("use crate::{admission, item::Item};"),
        ["admission", "item"]
    );
    assert_eq!(
        names("fn f(x: crate::pixel::Error) -> crate::error::Error"),
        ["pixel", "error"]
    );
    assert!(names("use std::fs;").is_empty());
}
