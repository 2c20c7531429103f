//! No module of the engine imports one that stands above it in the table of `src/lib.rs`, and none imports in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The path of a module below the crate: `["broker", "redis"]`.
type Module = Vec<String>;

/// The words and signs of a file, without its comments and literals.
fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut rest): (Vec<String>, _) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|raw| raw.trim_start_matches('#')).filter(|raw| raw.starts_with('"'));
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = raw {
            let hashes = "#".repeat(rest.len() - raw.len() - 1);
            rest.len() - raw.len() + 1 + raw[1..].find(&format!("\"{hashes}")).expect("it ends") + 1 + hashes.len()
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|next| {
                let ends = next == '"' && !escaped;
                escaped = next == '\\' && !escaped;
                ends
            });
            end.expect("it ends") + 2
        } else if first == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            2 + first.len_utf8() + rest[2..].find('\'').expect("it ends")
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// What attributes begin with whose items only tests compile.
const TEST: [&[&str]; 2] = [&["#", "[", "cfg", "(", "test", ")"], &["#", "[", "cfg", "(", "all", "(", "test", ","]];
const ITEMS: [&str; 12] =
    ["fn", "mod", "use", "impl", "struct", "enum", "const", "static", "type", "trait", "async", "pub"];

/// The tokens without what only tests compile, and the modules among that.
fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        let rest = tokens[at..].iter().map(String::as_str);
        if !TEST.iter().any(|test| rest.clone().take(test.len()).eq(test.iter().copied())) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += rest.take_while(|token| *token != "]").count() + 1;
        let is_item = ITEMS.contains(&&*tokens[at]);
        let start = at;
        let mut depth = 0;
        loop {
            match &*tokens[at] {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            let token = &*tokens[at];
            at += 1;
            if depth == 0 && (token == ";" || token == "}" || (token == "," && !is_item)) {
                break;
            }
        }
        modules.extend(declared(&tokens[start..at]));
    }
    (kept, modules)
}

/// The modules that are in files of their own.
fn declared(tokens: &[String]) -> Vec<String> {
    let files = tokens.windows(3).filter(|window| window[0] == "mod" && window[2] == ";");
    files.map(|window| window[1].clone()).collect()
}

/// All paths of a tree such as `a::{b, c::{d, e}}`.
fn paths(tokens: &[String], at: &mut usize, before: &[String], all: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        if token == "{" {
            *at += 1;
            while tokens[*at] != "}" {
                paths(tokens, at, &path, all);
                if tokens[*at] == "," {
                    *at += 1;
                }
            }
            *at += 1;
            return;
        }
        path.push(token.clone());
        *at += 1;
        if tokens.get(*at).is_none_or(|next| next != "::") {
            break;
        }
        *at += 1;
    }
    all.push(path);
    if tokens.get(*at).is_some_and(|next| next == "as") {
        *at += 2;
    }
}

#[derive(Debug, Default)]
struct Source {
    /// The modules and items of the crate that it names.
    named: Vec<Vec<String>>,
    /// What it imports by which name, since other modules may import it from here.
    imported: BTreeMap<String, Vec<String>>,
}

impl Source {
    fn of(module: &Module, tokens: &[String]) -> Self {
        let children = declared(tokens);
        let mut source = Self::default();
        let mut at = 0;
        let mut is_use = false;
        while at < tokens.len() {
            let token = &*tokens[at];
            let begins_path =
                tokens.get(at + 1).is_some_and(|next| next == "::") && (at == 0 || tokens[at - 1] != "::");
            let is_own = ["crate", "super", "self"].contains(&token) || children.iter().any(|child| child == token);
            if !begins_path || !is_own {
                is_use = token == "use" || (is_use && token != ";");
                at += 1;
                continue;
            }
            let mut found = Vec::new();
            paths(tokens, &mut at, &[], &mut found);
            for path in found {
                let path = absolute(module, &path);
                if is_use && let Some(name) = path.last() {
                    source.imported.insert(name.clone(), path.clone());
                }
                source.named.push(path);
            }
        }
        source
    }
}

/// A path from the root of the crate.
fn absolute(module: &Module, path: &[String]) -> Vec<String> {
    let mut base = module.clone();
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        match &**first {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = others;
    }
    base.extend(rest.iter().filter(|segment| *segment != "self").cloned());
    base
}

/// What the crate compiles outside tests, by module; the root is the empty path.
fn sources() -> BTreeMap<Module, Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders): (Vec<PathBuf>, _) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let (mut sources, mut tests) = (BTreeMap::new(), Vec::new());
    for file in files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let path = file.strip_prefix(&root).unwrap().with_extension("");
        let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        module.pop_if(|last| last == "mod" || last == "lib");
        let (tokens, only_tests) = without_tests(&tokens(&fs::read_to_string(file).unwrap()));
        tests.extend(only_tests.into_iter().map(|child| [module.clone(), vec![child]].concat()));
        sources.insert(module.clone(), Source::of(&module, &tokens));
    }
    sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    sources
}

/// The module that a path leads to, through the imports of those on its way.
fn found_in<'a>(sources: &'a BTreeMap<Module, Source>, path: &[String]) -> &'a Module {
    let most = (0..=path.len()).rev().find(|length| sources.contains_key(&path[..*length])).expect("the root is there");
    let (module, source) = sources.get_key_value(&path[..most]).unwrap();
    match path.get(most).and_then(|name| source.imported.get(name)) {
        Some(imported) if *imported != *path => found_in(sources, imported),
        _ => module,
    }
}

/// The layers as the table of `src/lib.rs` lists them, from the bottom up.
fn layers() -> Vec<Vec<Module>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `")?.split(" | ").next());
    let modules = |row: &str| row.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let path = |name: String| name.split("::").map(str::to_owned).collect();
    rows.map(|row| modules(row).into_iter().map(path).collect()).collect()
}

/// Which modules of the table import which, beside the root, which names all of them. A file that is not in the table belongs to
/// the nearest of its parents that is.
fn imports(layers: &[Vec<Module>]) -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = sources();
    let listed = |module: &Module| {
        let mut parents = (1..=module.len()).rev().map(|length| &module[..length]);
        let listed = parents.find(|parent| layers.iter().flatten().any(|listed| *listed == **parent));
        listed.unwrap_or_else(|| panic!("the table does not list {}", module.join("::"))).to_vec()
    };
    let mut imports = BTreeMap::<_, BTreeSet<_>>::new();
    for (module, source) in sources.iter().filter(|(module, _)| !module.is_empty()) {
        let module = listed(module);
        let named = source.named.iter().map(|path| found_in(&sources, path)).filter(|named| !named.is_empty());
        let others: Vec<_> = named.map(listed).filter(|named| *named != module).collect();
        imports.entry(module).or_default().extend(others);
    }
    imports
}

/// A circle of imports that begins and ends with the last of these modules.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>, way: &mut Vec<Module>, done: &mut BTreeSet<Module>) -> bool {
    let last = way.last().expect("it has a start").clone();
    if let Some(start) = way[..way.len() - 1].iter().position(|module| *module == last) {
        way.drain(..start);
        return true;
    }
    if !done.contains(&last) {
        for next in imports.get(&last).into_iter().flatten() {
            way.push(next.clone());
            if circle(imports, way, done) {
                return true;
            }
            way.pop();
        }
        done.insert(last);
    }
    false
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let (imports, mut done) = (imports(&layers()), BTreeSet::new());
    for start in imports.keys() {
        let mut way = vec![start.clone()];
        assert!(
            !circle(&imports, &mut way, &mut done),
            "a circle of imports: {}",
            way.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" -> ")
        );
    }
}

#[test]
fn modules_import_only_from_layers_below() {
    let layers = layers();
    let imports = imports(&layers);
    let layer = |module: &Module| layers.iter().position(|layer| layer.contains(module));
    let upward = imports.iter().flat_map(|(module, imported)| {
        let above = imported.iter().filter(|to| layer(to) >= layer(module));
        above.map(|to| format!("{} imports {}", module.join("::"), to.join("::")))
    });
    assert_eq!(upward.collect::<Vec<_>>(), [""; 0]);
    let gone: Vec<_> = layers.iter().flatten().filter(|listed| !imports.contains_key(*listed)).collect();
    assert!(gone.is_empty(), "the table lists modules that are gone: {gone:?}");
    // What is read is what is meant: an import from a list in braces, through another module and through the root.
    let path = |name: &str| name.split("::").map(str::to_owned).collect::<Vec<_>>();
    for (from, to) in [("registry", "known"), ("broker::redis", "broker::encoding"), ("broker::postgres", "entry")] {
        assert!(imports[&path(from)].contains(&path(to)), "{from} imports {to}");
    }
}
