//! The body of an HTML form, as the JSON that it stands for.

use std::borrow::Cow;

use axum::body::Bytes;
use serde_json::{Map, Value as Json};

use crate::{Meta, error::Problem};

/// The media type of a form.
pub(crate) const TYPE: &str = "application/x-www-form-urlencoded";

/// Reads a form: each value by the type of its field, and a list for each association that leads to many.
///
/// A list is a name that is repeated, as browsers write it, or one with `[]`, as jQuery does. A single empty value is an empty
/// list.
pub(crate) fn read(meta: &Meta, bytes: &Bytes) -> Result<Json, Problem> {
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
        let value = meta.field(&name).map_or_else(|| Json::from(&*text), |(_, field)| field.read_text(&text));
        if object.contains_key(&name) {
            return Err(Problem::of(name, "duplicate value"));
        }
        object.insert(name, value);
    }
    Ok(Json::Object(object))
}
