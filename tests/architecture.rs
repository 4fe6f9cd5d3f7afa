//! The architecture holds: `src/` is read and checked against the import rule of `src/lib.rs` and the
//! rules of the house.

use std::path::Path;

use crate::support::rust_tokens::{RustToken, tokens};

/// Top-level modules, bottom to top. A module imports only from those before it.
const ORDER: [&str; 16] = [
    "tensor", "job", "metrics", "compute", "config", "cache", "weights", "text", "model", "engine",
    "queue", "protocol", "api", "daemon", "bench", "cli",
];

/// What a module may use at most, where that is less than all before it.
const ONLY: [(&str, &[&str]); 5] = [
    ("tensor", &[]),
    ("job", &[]),
    ("metrics", &[]),
    ("compute", &["tensor"]),
    ("protocol", &["tensor", "job", "metrics", "text"]),
];

/// What a module must not use although it stands before it.
const NEVER: [(&str, &[&str]); 2] = [
    ("queue", &["engine", "model", "weights", "text"]),
    ("api", &["engine", "model", "weights", "cache"]),
];

/// Whether a top-level module may name a library.
type Allowed = fn(&str) -> bool;

/// Libraries that only some may name.
const LIBRARIES: [(&str, Allowed); 3] = [
    ("tokio", |module| {
        matches!(module, "api" | "daemon" | "cli" | "bin")
    }),
    ("rayon", |module| module != "compute"),
    ("tracing", |module| module != "compute"),
];

const UNSAFE_ALLOWED: [&str; 4] = [
    "compute/x86/",
    "compute/aarch64/",
    "compute/team/mod.rs",
    "cache/mapped/",
];

const MAX_LINES: usize = 500;
const MAX_BIN_LINES: usize = 60;

#[test]
fn the_source_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut violations = Vec::new();
    let mut folders = vec![root.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                violations.extend(check(name, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(files > ORDER.len(), "only {files} files found");
    violations.sort();
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations.join("\n")
    );
}

/// Every violation in one file; `name` is its path below `src`, with slashes.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let tokens = tokens(text);
    let file = module_path(name);
    let top = file.first().map_or("", String::as_str);

    let lines = text.lines().count();
    let (max, uniform) = match top {
        "bin" => (MAX_BIN_LINES, false),
        _ => (
            MAX_LINES,
            text.lines()
                .any(|line| line.starts_with("//! Uniform table:")),
        ),
    };
    if lines > max && !uniform {
        violations.push(format!("{name}: has {lines} lines, {max} are allowed"));
    }
    let first = text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        violations.push(format!("{name}: has no module docs"));
    }

    for (line, used) in uses(&tokens, &file) {
        if let Some(reason) = forbidden(top, used) {
            violations.push(format!("{name}:{line}: {reason}"));
        }
    }
    let unsafe_allowed = UNSAFE_ALLOWED.iter().any(|place| name.starts_with(place));
    for token in &tokens {
        if token.text == "unsafe" && !unsafe_allowed {
            violations.push(format!(
                "{name}:{}: unsafe does not belong here",
                token.line
            ));
        }
        for (library, allowed) in LIBRARIES {
            if token.text == library && !allowed(top) {
                violations.push(format!(
                    "{name}:{}: {top} must not use {library}",
                    token.line
                ));
            }
        }
    }
    violations
}

/// The path of modules that a file is: `queue/sqlite/mod.rs` is `queue::sqlite`, `lib.rs` the root.
fn module_path(name: &str) -> Vec<String> {
    let path = name.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/')
        .filter(|part| *part != "lib")
        .map(str::to_owned)
        .collect()
}

/// Why a top-level module must not use another one.
fn forbidden(module: &str, used: &str) -> Option<String> {
    let place = |name| ORDER.iter().position(|other| *other == name);
    // The map and the programs name everybody.
    if module == used || matches!(module, "" | "bin") {
        return None;
    }
    let listed = |list: &[(&str, &[&str])]| -> Option<bool> {
        let (_, names) = list.iter().find(|(name, _)| *name == module)?;
        Some(names.contains(&used))
    };
    match (place(module), place(used)) {
        (None, _) => Some(format!("module {module} has no place in the import rule")),
        (_, None) => Some(format!("crate::{used} is no module of the import rule")),
        (Some(own), Some(other)) if other > own => Some(format!(
            "{module} must not import {used}, which stands above it"
        )),
        _ if listed(&ONLY) == Some(false) || listed(&NEVER) == Some(true) => {
            Some(format!("{module} must not import {used}"))
        }
        _ => None,
    }
}

/// Top-level modules that paths in the text lead to, with their lines: `crate::x`, `crate::{x, y::z}`,
/// and chains of `super` that reach the root.
fn uses<'a>(tokens: &[RustToken<'a>], file: &[String]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    // Inline modules around the current place, each with the depth of braces outside it.
    let (mut inline, mut depth) = (Vec::new(), 0_usize);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut at = 0;
    while at < tokens.len() {
        match text(at) {
            "mod" if text(at + 2) == "{" => inline.push(depth),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "crate" if text(at + 1) == "::" => names_after(tokens, at + 2, &mut found),
            "super" => {
                let mut end = at;
                while text(end + 1) == "::" && text(end + 2) == "super" {
                    end += 2;
                }
                let levels = (end - at) / 2 + 1;
                if levels >= file.len() + inline.len() && text(end + 1) == "::" {
                    names_after(tokens, end + 2, &mut found);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The first names of a path tree: of `x::y` it is `x`, of `{x::{a, b}, y}` they are `x` and `y`.
fn names_after<'a>(tokens: &[RustToken<'a>], start: usize, found: &mut Vec<(usize, &'a str)>) {
    let mut depth = 0_usize;
    let mut expect_name = true;
    for token in &tokens[start.min(tokens.len())..] {
        match token.text {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," if depth == 1 => expect_name = true,
            name if expect_name => {
                found.push((token.line, name));
                expect_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

const DOCS: &str = "//! Docs.\n";

fn check_code(name: &str, code: &str) -> Vec<String> {
    check(name, &format!("{DOCS}{code}"))
}

#[test]
fn forbidden_imports_are_found_however_they_are_written() {
    let found = |code: &str| check_code("queue/sqlite/reads.rs", code);
    let expected = ["queue/sqlite/reads.rs:2: queue must not import engine"];
    for code in [
        "use crate::engine;",
        "use crate::engine::{Pool, self};",
        "use crate::{engine};",
        "use crate::{job::JobId, config::{self, Queue}, engine::Pool};",
        "fn f() -> crate::engine::Pool {}",
        "use super::super::super::engine;",
        "use super::super::super::{job, engine};",
        "mod tests { use super::super::super::super::engine::Pool; }",
        "mod a { mod b {} mod c { } } use super::super::super::engine::Pool;",
        "pub(crate) use crate :: engine :: Pool;",
    ] {
        assert_eq!(found(code), expected, "{code}");
    }
    for code in [
        "use crate::job::{Event, engine};",
        "use crate::queue::engine;",
        "use super::super::engine;",
        "mod tests { use super::super::super::engine; }",
        "// use crate::engine;\n/// [`crate::engine`]",
        "const A: &str = \"crate::engine\";",
        "pub(crate) fn engine() {}",
        "pub(in crate::queue) fn f() {}",
    ] {
        assert_eq!(found(code), [] as [String; 0], "{code}");
    }
}

#[test]
fn the_table_of_imports_is_kept() {
    let may = |module: &str, used: &str| forbidden(module, used).is_none();
    let everything = || ORDER.into_iter();
    for leaf in ["tensor", "job", "metrics"] {
        assert!(
            everything()
                .filter(|used| *used != leaf)
                .all(|used| !may(leaf, used))
        );
    }
    let of = |module: &'static str| {
        everything()
            .filter(|used| *used != module && may(module, used))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("compute"), ["tensor"]);
    assert_eq!(of("config"), ["tensor", "job", "metrics", "compute"]);
    assert_eq!(
        of("cache"),
        ["tensor", "job", "metrics", "compute", "config"]
    );
    assert_eq!(of("protocol"), ["tensor", "job", "metrics", "text"]);
    assert_eq!(
        of("queue"),
        ["tensor", "job", "metrics", "compute", "config", "cache"]
    );
    for (module, never) in [
        (
            "weights",
            &[
                "text", "model", "engine", "queue", "protocol", "api", "daemon",
            ][..],
        ),
        ("model", &["engine", "queue", "protocol", "api"][..]),
        ("engine", &["queue", "protocol", "api"][..]),
        (
            "api",
            &["engine", "model", "weights", "cache", "daemon", "cli"][..],
        ),
        ("daemon", &["cli", "bench"][..]),
    ] {
        assert!(never.iter().all(|used| !may(module, used)), "{module}");
    }
    assert!(may("api", "queue") && may("api", "protocol") && may("api", "text"));
    assert!(everything().all(|used| may("bin", used)));
}

#[test]
fn modules_outside_the_map_are_found() {
    assert_eq!(
        check_code("utils/mod.rs", "use crate::job;"),
        ["utils/mod.rs:2: module utils has no place in the import rule"]
    );
    assert_eq!(
        check_code("api/mod.rs", "use crate::*;"),
        ["api/mod.rs:2: crate::* is no module of the import rule"]
    );
}

#[test]
fn libraries_stay_where_they_belong() {
    let expected = ["queue/live.rs:2: queue must not use tokio"];
    assert_eq!(
        check_code("queue/live.rs", "use tokio::sync::Notify;"),
        expected
    );
    let expected = ["compute/matmul.rs:2: compute must not use rayon"];
    assert_eq!(
        check_code("compute/matmul.rs", "use rayon::prelude::*;"),
        expected
    );
    for name in [
        "api/server.rs",
        "daemon/mod.rs",
        "cli/client.rs",
        "bin/woollyd.rs",
    ] {
        assert_eq!(
            check_code(name, "#[tokio::main] fn f() {}"),
            [] as [String; 0]
        );
    }
}

#[test]
fn long_files_are_found() {
    let long = |lines: usize| "\n".repeat(lines - 1);
    assert_eq!(check_code("job.rs", &long(500)), [] as [String; 0]);
    assert_eq!(
        check_code("job.rs", &long(501)),
        ["job.rs: has 501 lines, 500 are allowed"]
    );
    let table = format!("//! Uniform table: one line per flag.\n{}", long(501));
    assert_eq!(check("job.rs", &table), [] as [String; 0]);
    assert_eq!(check_code("bin/woolly.rs", &long(60)), [] as [String; 0]);
    let expected = ["bin/woolly.rs: has 61 lines, 60 are allowed"];
    assert_eq!(check_code("bin/woolly.rs", &long(61)), expected);
}

#[test]
fn unsafe_code_is_found() {
    let code = "fn f() { unsafe { g() } }";
    let expected = ["queue/live.rs:2: unsafe does not belong here"];
    assert_eq!(check_code("queue/live.rs", code), expected);
    assert_eq!(check_code("compute/matmul.rs", code).len(), 1);
    for name in [
        "compute/x86/avx2.rs",
        "compute/aarch64/neon.rs",
        "compute/team/mod.rs",
        "cache/mapped/guard.rs",
    ] {
        assert_eq!(check_code(name, code), [] as [String; 0]);
    }
    assert_eq!(
        check_code("job.rs", "#![deny(unsafe_code)] // unsafe"),
        [] as [String; 0]
    );
}

#[test]
fn missing_docs_are_found() {
    assert_eq!(
        check("job.rs", "use std::fmt;\n//! Late."),
        ["job.rs: has no module docs"]
    );
    assert_eq!(check("job.rs", ""), ["job.rs: has no module docs"]);
    assert_eq!(
        check("job.rs", "#![allow(x)]\n\n//! Docs."),
        [] as [String; 0]
    );
}
