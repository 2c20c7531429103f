//! The tests that docs/guarantees.md names are there.

use std::{fs, path::Path};

/// The files that a document links to as `[..](path): *test*, *test*`, each with its tests.
fn tests_of(document: &str) -> Vec<(&str, Vec<&str>)> {
    let links = document.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    links
        .map(|(path, after)| {
            let named = after.strip_prefix(": *").map_or("", |names| names.split(['|', ';']).next().unwrap_or(""));
            (
                path,
                named
                    .split(", *")
                    .map(|name| name.trim_end_matches([' ', '*']))
                    .filter(|name| !name.is_empty())
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn each_promise_names_tests_that_exist() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let document = fs::read_to_string(docs.join("guarantees.md")).expect("the document");
    let mut tests = 0;
    for (path, names) in tests_of(&document) {
        let source = fs::read_to_string(docs.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for name in names {
            let title = if path.ends_with(".rs") { format!("fn {name}(") } else { name.to_owned() };
            assert!(source.contains(&title), "{path} has no test `{name}`");
            tests += 1;
        }
    }
    assert!(tests > 20, "only {tests} tests were found");
}
