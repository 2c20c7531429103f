//! The tests that docs/guarantees.md and docs/security.md name are there.

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
    for (document, least) in [("guarantees.md", 20), ("security.md", 30)] {
        let text = fs::read_to_string(docs.join(document)).expect("the document");
        let mut tests = 0;
        for (path, names) in tests_of(&text) {
            if !["../tests/", "../runtime/", "../resources/", "../pubsub/"]
                .iter()
                .any(|folder| path.starts_with(folder))
            {
                continue;
            }
            let source = fs::read_to_string(docs.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            for name in names {
                let title = if path.ends_with(".rs") { format!("fn {name}(") } else { name.to_owned() };
                assert!(source.contains(&title), "{document}: {path} has no test `{name}`");
                tests += 1;
            }
        }
        assert!(tests > least, "only {tests} tests were found in {document}");
    }
}
