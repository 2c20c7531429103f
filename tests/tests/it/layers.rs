//! What the layers of ARCHITECTURE.md may not know of each other, read from the source.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Rust files below a folder of the repository, with their text up to the unit tests and without comments.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 5, "{folder} has too few files: {files:?}");
    let code = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path.strip_prefix(root()).unwrap().to_owned(), lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(code).collect()
}

/// The files below a folder that name one of these words, apart from those that may.
fn naming(folder: &str, words: &[&str], may: &[&str]) -> Vec<String> {
    let names = |text: &str| words.iter().find(|word| text.contains(*word)).copied();
    let sources = sources(folder).into_iter().filter(|(path, _)| !may.iter().any(|may| path.starts_with(may)));
    sources.filter_map(|(path, text)| Some(format!("{} names {}", path.display(), names(&text)?))).collect()
}

#[test]
fn engine_names_neither_http_nor_socketio() {
    let words =
        ["axum", "hyper", "http::", "tower", "socketioxide", "engineioxide", "serde_json::Value", "use catamaran::"];
    // Its unit tests read packets as a client does.
    let tests = [
        "testing.rs",
        "simulation",
        "sent/tests.rs",
        "resync/tests",
        "resync/tests.rs",
        "registry/tests.rs",
        "filter/tests.rs",
        "subscription/tests.rs",
        "resync/gaps.rs",
        "cluster/tests.rs",
        "expiry/tests.rs",
    ];
    let tests = tests.map(|file| format!("pubsub/src/{file}"));
    assert_eq!(naming("pubsub/src", &words, &tests.each_ref().map(String::as_str)), Vec::<String>::new());
    let manifest = fs::read_to_string(root().join("pubsub/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for dependency in ["axum", "hyper", "http", "tower", "socketioxide", "catamaran"] {
        let named = dependencies
            .lines()
            .any(|line| line.starts_with(&format!("{dependency}.")) || line.starts_with(&format!("{dependency} ")));
        assert!(!named, "catamaran-pubsub depends on {dependency}");
    }
}

#[test]
fn only_the_socket_side_names_socketioxide() {
    let may =
        ["runtime/src/socketio", "runtime/src/app", "runtime/src/lib.rs", "runtime/src/test.rs", "runtime/src/http"];
    assert_eq!(naming("runtime/src", &["socketioxide"], &may), Vec::<String>::new());
    assert!(!naming("runtime/src/socketio", &["socketioxide"], &[]).is_empty(), "the words are looked for in code");
}

#[test]
fn only_the_engine_names_backends() {
    assert_eq!(naming("runtime/src", &["tokio_postgres", "redis::"], &[]), Vec::<String>::new());
}
