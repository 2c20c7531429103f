//! What an HTML form sends, as the JSON that it stands for.

use std::borrow::Cow;

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Map, Value as Json};

use crate::{Error, Meta, error::Problem};

/// The media type of a form.
pub(crate) const TYPE: &str = "application/x-www-form-urlencoded";

/// Refuses the form of another site's page: a browser sends it without asking, with the cookies of the user.
pub(crate) fn admit(headers: &HeaderMap) -> Result<(), Error> {
    let said = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = match (said(header::HeaderName::from_static("sec-fetch-site")), said(header::ORIGIN)) {
        (Some(site), _) => ["same-origin", "none"].contains(&site),
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, host)| said(header::HOST) == Some(host)),
        // No browser: they say the origin of whatever is no GET.
        (None, None) => true,
    };
    if own {
        return Ok(());
    }
    let refusal = catamaran::Error::new(StatusCode::FORBIDDEN, "a form must be of a page of this server; send JSON");
    Err(Error::refused(refusal.into_response()))
}

/// Reads a form: each value as its field takes it, and lists for associations that lead to many.
///
/// A list is a name said several times, as browsers have it, or with `[]`, as jQuery has it; said once and empty, it is an
/// empty list.
pub(crate) fn read(meta: &'static Meta, bytes: &Bytes) -> Result<Json, Problem> {
    let mut object = Map::new();
    for (name, text) in form_urlencoded::parse(bytes) {
        let name = name.strip_suffix("[]").map_or_else(|| name.clone(), Cow::from).into_owned();
        if meta.association(&name).is_some_and(|association| association.is_many()) {
            let list = object.entry(name).or_insert_with(|| Json::Array(Vec::new()));
            if let (Json::Array(list), false) = (list, text.is_empty()) {
                list.push(text.into());
            }
            continue;
        }
        let value = meta.field(&name).map_or_else(|| Json::from(&*text), |(_, field)| field.said(&text));
        if object.contains_key(&name) {
            return Err(Problem::of(name, "it is said more than once"));
        }
        object.insert(name, value);
    }
    Ok(Json::Object(object))
}
