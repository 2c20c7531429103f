//! The text of a path: what the router accepts, and the names of its parameters.

use syn::{Ident, LitStr};

use crate::Errors;

/// The names in the braces of a path; what the router would refuse at start is an error here.
pub fn parameters(path: &LitStr, errors: &mut Errors) -> Vec<String> {
    let text = path.value();
    if !text.starts_with('/') {
        errors.at(path.span(), format!("a path starts with `/`: write \"/{text}\""));
    }
    let mut names = Vec::new();
    let mut segments = text.strip_prefix('/').unwrap_or(&text).split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.starts_with("{*") && segments.peek().is_some() {
            let message = format!("`{segment}` takes the rest of the path, so it must be the last segment");
            errors.at(path.span(), message);
        }
        match parameter(segment) {
            Ok(None) => {}
            Ok(Some(name)) if names.contains(&name) => {
                errors.at(path.span(), format!("`{{{name}}}` appears twice in \"{text}\""));
            }
            Ok(Some(name)) => names.push(name),
            Err(message) => {
                errors.at(path.span(), message);
                names.extend(meant(segment));
            }
        }
    }
    names
}

/// The name of a segment that is a parameter; `None` for a segment that is a text.
fn parameter(segment: &str) -> Result<Option<String>, String> {
    if let Some(name) = segment.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        let name = name.rsplit(':').next().unwrap_or(name);
        return Err(format!("write `{{{}}}` instead of `{segment}`", corrected(name)));
    }
    if let Some(name) = segment.strip_prefix(':') {
        let name = corrected(name);
        return Err(format!("write `{{{name}}}` instead of `{segment}`"));
    }
    if let Some(name) = segment.strip_prefix('*') {
        let name = if name.is_empty() { "rest" } else { name };
        return Err(format!("write `{{*{name}}}` instead of `{segment}`"));
    }
    if let Some(wrong) = segment.chars().find(|c| "\\^|".contains(*c)) {
        return Err(format!("clients differ in how they send {wrong:?} in a path: choose another character"));
    }
    if matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..") {
        return Err(format!("browsers resolve `{segment}` before they send a path: leave it out"));
    }
    if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix("?}")) {
        let name = corrected(name);
        return Err(format!(
            "a parameter is always there: write `{{{name}}}`, and a second action for the path without it"
        ));
    }
    if let Some(wrong) = segment.chars().find(|c| c.is_whitespace() || c.is_control() || "?#".contains(*c)) {
        return Err(format!("a path has no {wrong:?}; a query is read by `Query<T>`"));
    }
    if !segment.contains(['{', '}']) {
        return Ok(None);
    }
    let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(name) = name.filter(|name| !name.contains(['{', '}'])) else {
        let help = match meant(segment) {
            Some(name) => format!("; write e.g. `{{{name}}}`"),
            None => String::new(),
        };
        return Err(format!("a parameter fills a whole segment: `{segment}` cannot be matched{help}"));
    };
    let (star, name) = name.strip_prefix('*').map_or(("", name), |name| ("*", name));
    if let Some((plain, kind)) = name.split_once(':') {
        let plain = corrected(plain);
        return Err(format!(
            "the argument's type says what a parameter is, not `{kind}`: write `{{{star}{plain}}}`, and e.g. `{plain}: u64`"
        ));
    }
    if !is_name(name) {
        return Err(format!("`{name}` is not a name that an argument can have; write `{{{star}{}}}`", corrected(name)));
    }
    Ok(Some(name.to_owned()))
}

/// The name that a wrong segment means, so that the argument of that name is no mistake as well.
fn meant(segment: &str) -> Option<String> {
    let name = segment.trim_matches(|c: char| !c.is_alphanumeric() && c != '_').split(['{', '}']).next()?;
    let name = match segment.starts_with('<') {
        true => name.rsplit(':').next()?,
        false => name.split(':').next()?,
    };
    let name = name.replace('-', "_");
    is_name(&name).then_some(name)
}

/// The nearest name that an argument can have.
fn corrected(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if is_name(&name) { name } else { "id".to_owned() }
}

/// Whether an argument can have this name, be it as `r#name`.
fn is_name(name: &str) -> bool {
    name != "_" && (syn::parse_str::<Ident>(name).is_ok() || syn::parse_str::<Ident>(&format!("r#{name}")).is_ok())
}

/// Checks a controller's prefix and gives it as the paths under it need it: the root is the empty text.
pub fn prefix(prefix: &LitStr, errors: &mut Errors) -> LitStr {
    let text = prefix.value();
    parameters(prefix, errors);
    let message = if text.contains("{*") {
        Some("a prefix cannot take the rest of the path: its actions have paths of their own".to_owned())
    } else if text.len() > 1 && text.ends_with('/') {
        Some(format!("a prefix does not end with `/`: write {:?}", text.trim_end_matches('/')))
    } else {
        None
    };
    message.into_iter().for_each(|message| errors.at(prefix.span(), message));
    LitStr::new(&encoded(text.trim_end_matches('/')), prefix.span())
}

/// A path under a prefix, as clients send it; `/` under a prefix means the prefix itself.
pub fn join(prefix: &str, path: &LitStr) -> LitStr {
    let text = match path.value() {
        root if root == "/" && !prefix.is_empty() => prefix.to_owned(),
        path => format!("{prefix}{path}"),
    };
    LitStr::new(&encoded(&text), path.span())
}

/// A path as every client sends it: percent-encoded, but for the names of its parameters.
pub fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for (nth, segment) in path.split('/').enumerate() {
        if nth > 0 {
            encoded.push('/');
        }
        for c in segment.chars() {
            let is_sent = segment.starts_with('{') || (c.is_ascii_graphic() && !"\"<>`".contains(c));
            if is_sent {
                encoded.push(c);
            } else {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| encoded += &format!("%{byte:02X}"));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;
    use quote::ToTokens;

    use super::*;

    fn names(path: &str) -> Result<Vec<String>, String> {
        let mut errors = Errors::default();
        let names = parameters(&LitStr::new(path, Span::call_site()), &mut errors);
        if errors.is_empty() { Ok(names) } else { Err(errors.to_token_stream().to_string()) }
    }

    #[test]
    fn a_path_yields_its_names_from_left_to_right() {
        assert_eq!(names("/"), Ok(vec![]));
        assert_eq!(names("/a/b.c/"), Ok(vec![]));
        assert_eq!(names("/rooms/{id}/posts/{post}"), Ok(vec!["id".into(), "post".into()]));
        assert_eq!(names("/{type}/{*rest}"), Ok(vec!["type".into(), "rest".into()]));
    }

    #[test]
    fn what_the_router_would_refuse_is_one_error() {
        for path in [
            "", "a", "/:id", "/*", "/*rest", "/{x}/{x}", "/{*r}/t", "/{n}.png", "/{}", "/{a-b}", "/{_}", "/a b",
            "/a?b", "/a|b", "/a^b", "/a\\b", "/a/../b", "/./a", "/%2E%2e",
        ] {
            let errors = names(path).unwrap_err();
            assert_eq!(errors.matches("compile_error").count(), 1, "{path}: {errors}");
        }
    }

    #[test]
    fn wrong_parameter_shows_the_right_one() {
        for (path, right) in [
            ("/<id>", "{id}"),
            ("/<int:id>", "{id}"),
            ("/:user-id", "{user_id}"),
            ("/{id:int}", "{id}"),
            ("/{user-id}", "{user_id}"),
            ("/{*a-b}", "{*a_b}"),
            ("/{id?}", "{id}"),
            ("/{}", "{id}"),
            ("/{id", "{id}"),
        ] {
            let errors = names(path).unwrap_err();
            assert_eq!(errors.matches("compile_error").count(), 1, "{path}: {errors}");
            assert!(errors.contains(&format!("`{right}`")), "{path}: {errors}");
        }
    }

    #[test]
    fn the_root_under_a_prefix_is_the_prefix() {
        let join = |prefix, path| super::join(prefix, &LitStr::new(path, Span::call_site())).value();
        assert_eq!(join("/users", "/"), "/users");
        assert_eq!(join("/users", "/{id}"), "/users/{id}");
        assert_eq!(join("", "/"), "/");
        assert_eq!(join("", "/a"), "/a");
    }

    #[test]
    fn path_is_encoded_as_clients_send_it() {
        for (path, sent) in [
            ("/größe/{größe}", "/gr%C3%B6%C3%9Fe/{größe}"),
            ("/u/<id>/\"a`b", "/u/%3Cid%3E/%22a%60b"),
            ("/gr%C3%B6%C3%9Fe/{*rest}", "/gr%C3%B6%C3%9Fe/{*rest}"),
            ("/~!$&'()*+,;=:@[]-._%20", "/~!$&'()*+,;=:@[]-._%20"),
            ("/", "/"),
        ] {
            assert_eq!(encoded(path), sent);
            assert_eq!(encoded(sent), sent);
        }
    }
}
