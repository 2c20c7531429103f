//! What a request says, as values that a database takes.

use sea_orm::Value;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value as Json};

use crate::{
    error::{Problem, details},
    meta::Values,
};

/// A body as a type: what `#[resource]` makes of a model for new records and for updates.
pub trait Input: Clone {
    /// Takes its fields out of a body; none if one of them is wrong.
    fn read(fields: &mut Fields) -> Option<Self>;

    /// What is wrong with it, field by field.
    fn problems(&self) -> Vec<Problem>;

    /// Its values, by the positions of the fields.
    fn into_values(self) -> Values;
}

/// The fields of a body, which are taken out one by one.
///
/// It says of each field what is wrong with it, where serde's derive ends with the first and does not say its name; and is compiled
/// once for a type of fields, where that is for each resource.
pub struct Fields {
    body: Map<String, Json>,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl Fields {
    fn of(body: Map<String, Json>) -> Self {
        Self { body, known: Vec::new(), problems: Vec::new() }
    }

    /// A value that must be there.
    pub fn required<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.optional(name)?;
        if value.is_none() {
            self.problems.push(Problem::of(name, "a value is required"));
        }
        value
    }

    /// A value that may be absent.
    pub fn or<T: DeserializeOwned>(&mut self, name: &'static str, default: fn() -> T) -> Option<T> {
        Some(self.optional(name)?.unwrap_or_else(default))
    }

    /// A value, or that there is none; none of both if it is wrong.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<Option<T>> {
        self.known.push(name);
        let Some(json) = self.body.remove(name) else { return Some(None) };
        match T::deserialize(json) {
            Ok(value) => Some(Some(value)),
            Err(wrong) => {
                self.problems.push(Problem::of(name, wrong.to_string()));
                None
            }
        }
    }

    /// What was wrong, and what is left that nobody knows.
    fn problems(self) -> Vec<Problem> {
        let Self { body, known, mut problems } = self;
        let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
        let unknown = |name: &String| {
            let known = known.join(", ");
            Problem::general(format!("unknown field `{name}`, there are: {known}"))
        };
        problems.extend(body.keys().map(unknown));
        problems
    }
}

/// Reads a body as a type that accepts it.
pub(crate) fn read<T: Input>(body: Map<String, Json>) -> Result<Values, Vec<Problem>> {
    let mut fields = Fields::of(body);
    let input = T::read(&mut fields);
    let wrong = fields.problems();
    match input {
        Some(input) if wrong.is_empty() => checked(input),
        _ => Err(wrong),
    }
}

/// The values of an input, if it keeps its rules.
pub(crate) fn checked<T: Input>(input: T) -> Result<Values, Vec<Problem>> {
    let wrong = input.problems();
    if wrong.is_empty() { Ok(input.into_values()) } else { Err(wrong) }
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

/// The JSON by which text of a form is a value of this type: an empty text is null unless the type takes it, and `on` is a
/// ticked box. Text that is none stays text, for the error.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str) -> Json {
    let fits = |json: &Json| T::deserialize(json).is_ok();
    let as_text = Json::from(text);
    if fits(&as_text) {
        return as_text;
    }
    let meant = match text {
        "" => Some(Json::Null),
        "on" => Some(Json::Bool(true)),
        text => serde_json::from_str(text).ok(),
    };
    meant.filter(fits).unwrap_or(as_text)
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

/// Reads an input for an action that is written by hand, as the resource does.
pub fn deserialize<'de, T: Input, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let mut fields = Fields::of(Map::deserialize(deserializer)?);
    let input = T::read(&mut fields);
    let wrong = fields.problems();
    input.filter(|_| wrong.is_empty()).ok_or_else(|| D::Error::custom(details(&wrong)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(dead_code, unreachable_pub)]
    mod thing {
        use sea_orm::entity::prelude::*;

        #[crate::resource(path = "/thing", policy = crate::Public)]
        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
        #[sea_orm(table_name = "thing")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i64,
            pub number: i8,
            /// As generated code calls what it reads from.
            pub fields: Option<String>,
            #[field(default = 7)]
            pub seven: i32,
            #[field(read_only, default = 1)]
            pub own: i32,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }

    fn object(body: Json) -> Map<String, Json> {
        let Json::Object(body) = body else { panic!("{body} is no object") };
        body
    }

    #[test]
    fn what_is_null_differs_from_what_is_absent() {
        let create = |body| read::<thing::Create>(object(body)).map_err(|problems| details(&problems));
        let fields = |value: Option<&str>| (2, value.map(str::to_owned).into());
        let made = |value, seven: i32| Ok(vec![(1, 3_i8.into()), fields(value), (3, seven.into()), (4, 1_i32.into())]);
        assert_eq!(create(json!({"number": 3})), made(None, 7));
        assert_eq!(create(json!({"number": 3, "fields": null, "seven": 8})), made(None, 8));
        assert_eq!(create(json!({"number": 3, "fields": "so"})), made(Some("so"), 7));
        let null = "`seven`: invalid type: null, expected i32".to_owned();
        assert_eq!(create(json!({"number": 3, "seven": null})), Err(null));

        let patch = |body| read::<thing::Patch>(object(body)).map_err(|problems| details(&problems));
        assert_eq!(patch(json!({})), Ok(Vec::new()));
        assert_eq!(patch(json!({"fields": null, "seven": 8})), Ok(vec![fields(None), (3, 8_i32.into())]));
        let null = "`number`: invalid type: null, expected i8".to_owned();
        assert_eq!(patch(json!({"number": null})), Err(null));
    }

    #[test]
    fn each_mistake_is_said_at_its_field() {
        let body = object(json!({"number": 300, "fields": 3, "x": 1, "own": 2}));
        let problems = read::<thing::Create>(body).unwrap_err();
        let texts: Vec<_> = problems.iter().map(Problem::text).collect();
        assert_eq!(
            texts,
            [
                "`number`: invalid value: integer `300`, expected i8",
                "`fields`: invalid type: integer `3`, expected a string",
                "unknown field `own`, there are: `number`, `fields`, `seven`",
                "unknown field `x`, there are: `number`, `fields`, `seven`",
            ]
        );
        let problems = read::<thing::Create>(Map::new()).unwrap_err();
        assert_eq!(problems, [Problem::of("number", "a value is required")]);
        // An action that is written by hand is told the same.
        let wrong = serde_json::from_str::<thing::Patch>(r#"{"number": "3", "x": 1}"#).unwrap_err();
        let text = "`number`: invalid type: string \"3\", expected i8; unknown field `x`, there are: `number`, `fields`, `seven`";
        assert_eq!(wrong.to_string(), text);
        assert_eq!(serde_json::from_str::<thing::Patch>(r#"{"seven": 8}"#).unwrap().seven, Some(8));
    }
}
