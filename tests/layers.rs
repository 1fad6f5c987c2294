//! The map in `src/lib.rs` against the code: which module uses which, that files form no circle, and
//! that faces are known in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Module = Vec<String>;

/// What one source file says, without comments and tests.
struct Source {
    file: PathBuf,
    /// Its module path below the crate's root; empty for the root itself.
    module: Module,
    code: String,
}

/// All of `src/`, by module path.
fn sources() -> BTreeMap<Module, Source> {
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    let all: Vec<_> = files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            (module_of(&file), file, text)
        })
        .collect();
    let tests: BTreeSet<Module> = all
        .iter()
        .flat_map(|(module, _, text)| test_modules(module, text))
        .collect();
    let is_test = |module: &Module| (1..=module.len()).any(|end| tests.contains(&module[..end]));
    all.into_iter()
        .filter(|(module, ..)| !is_test(module))
        .map(|(module, file, text)| {
            let code = product_code(&text);
            (module.clone(), Source { file, module, code })
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn module_of(file: &Path) -> Module {
    let path = file.strip_prefix("src").unwrap().with_extension("");
    let mut module: Module = path
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// Modules of their own files that are compiled for tests only.
fn test_modules(module: &[String], text: &str) -> Vec<Module> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| {
            let name = pair[1].strip_suffix(';')?.rsplit("mod ").next()?;
            Some([module, &[name.to_owned()]].concat())
        })
        .collect()
}

/// The text without comments, and without the tests that end a file.
fn product_code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines();
    let code: Vec<_> = lines
        .map(|line| match line.split_once("//") {
            // Not the slashes of a URL.
            Some((code, _)) if !code.ends_with(':') => code,
            _ => line,
        })
        .collect();
    code.join("\n")
}

/// Every path that begins with `crate`, `self` or `super`, use trees taken apart.
fn paths(code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for start in ["crate::", "self::", "super::", "kserve_transformer::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                expand(&code[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads a path or use tree, and gives what is left behind it.
fn expand<'a>(mut text: &'a str, prefix: &[String], found: &mut Vec<Module>) -> &'a str {
    let mut path = prefix.to_vec();
    loop {
        text = text.trim_start();
        if let Some(mut rest) = text.strip_prefix('{') {
            loop {
                rest = rest.trim_start();
                if let Some(behind) = rest.strip_prefix('}') {
                    return behind;
                }
                let behind = expand(rest, &path, found).trim_start();
                let behind = behind.strip_prefix(',').unwrap_or(behind);
                // What is no use tree, such as a pattern in braces.
                if behind.len() >= rest.len() {
                    return behind;
                }
                rest = behind;
            }
        }
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        if end == 0 {
            found.push(path);
            return text.strip_prefix('*').unwrap_or(text);
        }
        path.push(text[..end].to_owned());
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(rest) => text = rest,
            None => {
                found.push(path);
                let text = text.trim_start();
                let Some(name) = text.strip_prefix("as ") else {
                    return text;
                };
                return name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            }
        }
    }
}

/// The modules that a file uses, each as the deepest one that has a file of its own.
fn used(source: &Source, all: &BTreeMap<Module, Source>) -> BTreeSet<Module> {
    let mut used = BTreeSet::new();
    for path in paths(&source.code) {
        let mut base = match path[0].as_str() {
            "self" | "super" => source.module.clone(),
            _ => Vec::new(),
        };
        for part in &path {
            match part.as_str() {
                "crate" | "self" | "kserve_transformer" => {}
                "super" => {
                    base.pop();
                }
                name => base.push(name.to_owned()),
            }
        }
        while !all.contains_key(&base) {
            base.pop();
        }
        if base != source.module && !base.is_empty() {
            used.insert(base);
        }
    }
    used
}

/// The map: each module and what it uses, a line each, the users first.
fn map() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("//! "));
    let rows: Vec<_> = lines
        .skip_while(|line| *line != "```text")
        .skip(1)
        .take_while(|line| *line != "```")
        .map(|line| {
            let (module, uses) = line.split_once('→').unwrap_or((line, ""));
            let uses = uses.split_whitespace().map(str::to_owned).collect();
            (module.trim().to_owned(), uses)
        })
        .collect();
    assert!(rows.len() > 10, "the map in src/lib.rs was not found");
    rows
}

#[test]
fn the_map_is_what_the_code_does() {
    let all = sources();
    let mut actual: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in all.values().filter(|source| !source.module.is_empty()) {
        let room = &source.module[0];
        let uses = actual.entry(room.clone()).or_default();
        let others = used(source, &all).into_iter().map(|path| path[0].clone());
        uses.extend(others.filter(|other| other != room));
    }
    let map = map();
    for (index, (module, uses)) in map.iter().enumerate() {
        let below: BTreeSet<_> = map[index + 1..].iter().map(|(name, _)| name).collect();
        for used in uses {
            assert!(
                below.contains(used),
                "{module} → {used} points up in the map"
            );
        }
    }
    let drawn: BTreeMap<_, _> = map.into_iter().collect();
    assert_eq!(
        drawn, actual,
        "the map in src/lib.rs (left) is not what the code does (right)"
    );
}

/// A folder's `mod.rs` and its files belong together, so that its use of them counts for nothing.
#[test]
fn files_form_no_circle() {
    let all = sources();
    let mut uses: BTreeMap<&Module, BTreeSet<Module>> = all
        .iter()
        .map(|(module, source)| {
            let mut used = used(source, &all);
            used.retain(|other| !other.starts_with(module));
            (module, used)
        })
        .collect();
    // Whatever uses nothing that is left is part of no circle.
    loop {
        let free: Vec<_> = uses
            .iter()
            .filter(|(_, used)| used.iter().all(|other| !uses.contains_key(other)))
            .map(|(&module, _)| module)
            .collect();
        if free.is_empty() {
            break;
        }
        for module in free {
            uses.remove(module);
        }
    }
    let left: Vec<_> = uses
        .iter()
        .map(|(module, used)| {
            let used: Vec<_> = used
                .iter()
                .filter(|other| uses.contains_key(other))
                .collect();
            format!("{} → {used:?}", all[*module].file.display())
        })
        .collect();
    assert!(left.is_empty(), "circles among:\n{}", left.join("\n"));
}

/// The names and numbers of the face model; its module's own name and the product's are not among
/// them.
const FACE_WORDS: [&str; 5] = ["face", "face_quality", "1346", "input.1", "112"];

#[test]
fn faces_are_known_in_one_place() {
    let mut found = Vec::new();
    for source in sources().values() {
        if source.module.first().is_some_and(|room| room == "faces") {
            continue;
        }
        for line in source.code.lines() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
            found.extend(
                words
                    .filter(|word| FACE_WORDS.contains(word))
                    .map(|word| format!("{}: {word} in {line}", source.file.display())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn paths_are_read_in_all_their_forms() {
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Module>();
    assert_eq!(
        paths("use crate::{\n    admission,\n    item::{self, Item as Other}, wire::*,\n};"),
        [
            "crate::admission",
            "crate::item::self",
            "crate::item::Item",
            "crate::wire"
        ]
        .map(path)
    );
    assert_eq!(
        paths("fn f(x: crate::pixel::Error) -> Result<super::Row, self::Error>"),
        ["crate::pixel::Error", "self::Error", "super::Row"].map(path)
    );
    assert_eq!(paths("use super::super::a;"), ["super::super::a"].map(path));
    assert!(paths("use std::fs; mycrate::a").is_empty());
}
