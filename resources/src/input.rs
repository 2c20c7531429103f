//! What a request says, as values that a database takes.

use sea_orm::Value;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::{error::Problem, meta::Values};

/// A body as a type: what `#[resource]` makes of a model for new records and for updates.
pub trait Input: Clone + DeserializeOwned {
    /// What is wrong with it, field by field.
    fn problems(&self) -> Vec<Problem>;

    /// Its values, by the positions of the fields.
    fn into_values(self) -> Values;
}

/// Reads a body as a type that accepts it.
pub(crate) fn read<T: Input>(body: Json) -> Result<T, Vec<Problem>> {
    let input = T::deserialize(body).map_err(|error| vec![Problem::general(error.to_string())])?;
    let problems = input.problems();
    if problems.is_empty() { Ok(input) } else { Err(problems) }
}

/// What garde says of an input, as problems of fields as they are named on the wire.
pub fn problems<T: garde::Validate<Context = ()>>(input: &T, names: &[(&str, &str)]) -> Vec<Problem> {
    let Err(report) = input.validate() else { return Vec::new() };
    let problem = |(path, error): &(garde::Path, garde::Error)| {
        let path = path.to_string();
        let name = names.iter().find(|(ident, _)| *ident == path).map_or(path.as_str(), |(_, name)| name);
        Problem::of(name, error.message())
    };
    report.iter().map(problem).collect()
}

/// Reads a value as the type of its field; text from a query may say what is not text.
pub(crate) fn parse<T: DeserializeOwned + Into<Value>>(json: &Json) -> Result<Value, String> {
    let value = T::deserialize(json).or_else(|error| match json {
        Json::String(text) => serde_json::from_str(text).map_err(|_| error),
        _ => Err(error),
    });
    let value = value.map_err(|error| error.to_string())?.into();
    storable(&value)?;
    Ok(value)
}

/// No database takes what their common interface cannot carry: an unsigned number beyond the signed ones, and text
/// that PostgreSQL refuses.
pub(crate) fn storable(value: &Value) -> Result<(), String> {
    match value {
        Value::BigUnsigned(Some(number)) if i64::try_from(*number).is_err() => Err(format!("{number} is too large")),
        Value::String(Some(text)) if text.contains('\0') => Err("text cannot contain the character U+0000".into()),
        _ => Ok(()),
    }
}

/// Tells a field that is `null` from one that is absent.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
