//! The body of a write: values, and what associations are to lead to.

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use sea_orm::Value;
use serde_json::{Map, Value as Json};

use crate::{
    Compat, Error, Meta,
    criteria::MAX_LIMIT,
    engine::{Members, identity},
    error::{Problem, details},
    form,
    input::{self, Input},
    meta::{Association, Values},
};

/// What a body says.
pub(crate) struct Parts {
    pub(crate) values: Values,
    pub(crate) members: Vec<Members>,
}

/// What a body is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Create,
    Update,
}

impl Purpose {
    fn error(self, problems: Vec<Problem>) -> Error {
        match self {
            Self::Create => Error::NewRecord(problems),
            Self::Update => Error::Values(problems),
        }
    }
}

/// Reads a record, or changes to one.
pub(crate) fn read(
    meta: &'static Meta,
    purpose: Purpose,
    compat: Compat,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Result<Parts, Error> {
    let error = |problems| purpose.error(problems);
    let mut body = match json(meta, headers, bytes).map_err(|wrong| wrong.or(error))? {
        Json::Object(body) => body,
        Json::Null => Map::new(),
        _ => return Err(error(vec![Problem::general("the body must be a JSON object")])),
    };
    let members = take_members(meta, purpose, compat, &mut body).map_err(error)?;
    if purpose == Purpose::Update {
        // Clients send whole records back.
        body.remove(meta.fields[meta.key()].name);
    }
    if compat == Compat::Sails {
        body.retain(|name, _| {
            meta.field(name).is_some_and(|(_, field)| {
                purpose == Purpose::Create && field.flags.create || purpose == Purpose::Update && field.flags.update
            })
        });
    }
    let read = match purpose {
        Purpose::Create => meta.create,
        Purpose::Update => meta.patch,
    };
    let values = read(body).map_err(error)?;
    Ok(Parts { values: storable(meta, purpose, values)?, members })
}

/// Reads what an application says of a record, as if a request said it.
pub(crate) fn own(meta: &Meta, purpose: Purpose, input: impl Input) -> Result<Values, Error> {
    let values = input::checked(input).map_err(|problems| purpose.error(problems))?;
    storable(meta, purpose, values)
}

/// Refuses values that no database takes.
fn storable(meta: &Meta, purpose: Purpose, values: Values) -> Result<Values, Error> {
    let wrong = |(at, value): &(usize, _)| {
        let wrong = input::storable(value).err()?;
        Some(Problem::of(meta.fields[*at].name, wrong))
    };
    let problems: Vec<Problem> = values.iter().filter_map(wrong).collect();
    if problems.is_empty() { Ok(values) } else { Err(purpose.error(problems)) }
}

/// Reads the list that replaces what an association leads to; a form has it under the association's name.
pub(crate) fn members(
    meta: &'static Meta,
    association: &'static Association,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Result<Members, Error> {
    let list = match json(meta, headers, bytes).map_err(|wrong| wrong.or(Error::Associated))? {
        Json::Object(mut fields) if essence(headers) == form::TYPE => {
            fields.remove(association.name()).unwrap_or_default()
        }
        list => list,
    };
    list_of(association, &list).map_err(|problem| Error::Associated(vec![problem]))
}

/// The identity of a record that is named in the query, or in the body.
pub(crate) fn named(meta: &'static Meta, query: &str, headers: &HeaderMap, bytes: &Bytes) -> Result<Value, Error> {
    let key = meta.fields[meta.key()].name;
    if let Some((_, id)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key) {
        return identity(meta, id.into_owned());
    }
    let criteria = |problems: Vec<Problem>| Error::criteria(details(&problems));
    match json(meta, headers, bytes).map_err(|wrong| wrong.or(criteria))?.get_mut(key) {
        Some(id) => identity(meta, id.take()),
        None => Err(Error::criteria(format!("`{key}` says which record is meant, in the path, the query or the body"))),
    }
}

/// Takes the lists of associations out of a body; what remains are values. A hidden association is as any unknown name.
fn take_members(
    meta: &'static Meta,
    purpose: Purpose,
    compat: Compat,
    body: &mut Map<String, Json>,
) -> Result<Vec<Members>, Vec<Problem>> {
    let verb = match purpose {
        Purpose::Create => "add",
        Purpose::Update => "replace",
    };
    let shown = meta.associations.iter().filter(|association| association.is_many() && meta.shows(association));
    let lists = shown.filter_map(|association| Some((association, body.remove(association.name())?)));
    let members = lists.filter_map(|(association, list)| match meta.writes(association, verb, compat) {
        true => Some(list_of(association, &list)),
        false if compat == Compat::Sails => None,
        false => Some(Err(Problem::of(association.name(), "this association is read-only for requests"))),
    });
    members.map(|members| members.map_err(|problem| vec![problem])).collect()
}

fn list_of(association: &'static Association, list: &Json) -> Result<Members, Problem> {
    let wrong = |message: String| Problem::of(association.name(), message);
    let Json::Array(list) = list else { return Err(wrong("a list of identities is expected".into())) };
    if list.len() as u64 > MAX_LIMIT {
        return Err(wrong(format!("a list has at most {MAX_LIMIT} identities")));
    }
    let target = association.target();
    let ids = list.iter().map(|id| {
        let field = &target.fields[target.key()];
        match id {
            Json::Null => Err(wrong("null identifies nothing".into())),
            id => field.parse(id).map_err(wrong),
        }
    });
    Ok(Members { association, ids: ids.collect::<Result<_, _>>()? })
}

/// Why a body is not read.
enum Wrong {
    Syntax(Problem),
    /// Its content type is another.
    Type(Error),
}

impl Wrong {
    fn or(self, error: impl Fn(Vec<Problem>) -> Error) -> Error {
        match self {
            Self::Syntax(problem) => error(vec![problem]),
            Self::Type(error) => error,
        }
    }
}

/// What a body says, in JSON or as a form; an empty one says nothing.
fn json(meta: &Meta, headers: &HeaderMap, bytes: &Bytes) -> Result<Json, Wrong> {
    if bytes.is_empty() {
        return Ok(Json::Null);
    }
    let essence = essence(headers);
    if essence == form::TYPE {
        return form::read(meta, bytes).map_err(Wrong::Syntax);
    }
    if essence != "application/json" && !essence.ends_with("+json") {
        let essence: String = essence.chars().take(100).collect();
        let message = format!("the body must be `application/json` or `{}`, this is {essence:?}", form::TYPE);
        let refusal = catamaran::Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        return Err(Wrong::Type(Error::refused(refusal.into_response())));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Wrong::Syntax(Problem::general(format!("the body is not valid JSON: {error}"))))
}

/// The content type of a body, without its parameters.
fn essence(headers: &HeaderMap) -> String {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
