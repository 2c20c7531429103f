//! What fails, and what a client is told of it; statuses and bodies are those of Sails.

use std::fmt;

use axum::{
    Json as Body,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use sea_orm::{DbErr, RuntimeErr, SqlxError, Value};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::{
    Meta,
    refusal::{Cause, Named, code_of},
};

const TOO_MANY_WRITES: &str = "as many writes wait for the database as may, and this one did not begin: retry later";

const DATABASE_BUSY: &str = "the database is busy or cannot be reached: retry later";

/// Why a request to a resource was not carried out.
#[derive(Debug)]
pub(crate) enum Error {
    /// The parameters of a query make no sense.
    Criteria(String),
    /// An association that is to be populated is none.
    Populates(String),
    /// A new record cannot be like this.
    NewRecord(Vec<Problem>),
    /// A record cannot become like this.
    Values(Vec<Problem>),
    /// What an association is to lead to is no list of identities.
    Associated(Vec<Problem>),
    /// Another record has the same value already.
    Unique {
        identity: &'static str,
        names: Vec<&'static str>,
    },
    /// Other records need this one.
    Needed(String),
    /// The database refused a write, and has yet to be asked what it means.
    Violation(Box<Violation>),
    NotFound,
    Forbidden,
    /// As many writes wait as may.
    TooManyWrites,
    /// Requests may read an association, and not write it.
    ReadOnly {
        identity: &'static str,
        association: &'static str,
    },
    /// Whoever asks was rejected by the extractor of the policy, or the socket cannot subscribe.
    Refused(Box<Response>),
    Database(DbErr),
    /// What an application's own part of a transaction failed with.
    Own(catamaran::Error),
}

/// What is wrong with one field of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    message: String,
}

impl Problem {
    /// What is wrong with a field.
    pub fn of(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), message: message.into() }
    }

    /// What is wrong with the body as a whole.
    pub fn general(message: impl Into<String>) -> Self {
        Self { field: None, message: message.into() }
    }

    pub(crate) fn text(&self) -> String {
        match &self.field {
            Some(field) => format!("`{field}`: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl Error {
    pub(crate) fn criteria(message: impl Into<String>) -> Self {
        Self::Criteria(message.into())
    }

    pub(crate) fn refused(rejection: Response) -> Self {
        Self::Refused(Box::new(rejection))
    }

    /// What a database said to a statement that writes into the table of a resource.
    pub(crate) fn written(meta: &'static Meta, error: DbErr) -> Self {
        match Cause::of(&error).filter(|cause| cause.is_about_values()) {
            Some(cause) => {
                // It may be the model's mistake. What the database says has values in it.
                tracing::debug!(resource = meta.identity, code = code_of(&error), "the database refuses a write");
                let named = Named::by(&error);
                Self::Violation(Box::new(Violation { meta, cause, named, is_new: false, ended: None }))
            }
            None => Self::Database(error),
        }
    }

    /// Whether the same may succeed at once: two transactions were in each other's way.
    pub(crate) fn is_retryable(&self) -> bool {
        self.cause() == Some(Cause::Conflict)
    }

    /// Whether the same may succeed at another time.
    pub(crate) fn is_busy(&self) -> bool {
        self.cause().is_some_and(Cause::passes)
    }

    fn cause(&self) -> Option<Cause> {
        match self {
            Self::Database(error) => Cause::of(error),
            Self::Own(error) => Cause::of(error.source()?.downcast_ref()?),
            _ => None,
        }
    }

    /// Whether the database did not take values of a write, which says something about other records.
    pub(crate) fn is_about_values(&self) -> bool {
        matches!(self, Self::Unique { .. } | Self::Values(_) | Self::Needed(_) | Self::Violation(_))
    }

    /// What an action of an application's own is told, with the answer to the request.
    pub(crate) fn into_own(self, method: &Method, path: &str) -> catamaran::Error {
        match self {
            Self::Own(error) => error,
            Self::Database(error) if Cause::of(&error).is_none() => error.into(),
            error => catamaran::Error::answered(error.to_string(), error.respond(method, path)),
        }
    }

    /// The database's error if it could not be asked; none if what was asked makes no sense, and never will.
    pub(crate) fn passing(self) -> Result<(), DbErr> {
        let Self::Database(error) = self else { return Ok(()) };
        let lasts = match &error {
            DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => match &**cause {
                // PostgreSQL: a name that is none; SQLite: JSON that is none.
                SqlxError::Database(_) => {
                    let code = code_of(&error);
                    let is_about_values = Cause::of(&error).is_some_and(Cause::is_about_values);
                    is_about_values || code == "1" || (code.len() == 5 && code.starts_with("42"))
                }
                cause => matches!(cause, SqlxError::ColumnDecode { .. } | SqlxError::ColumnNotFound(_)),
            },
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => false,
            _ => true,
        };
        if lasts { Ok(()) } else { Err(error) }
    }

    /// The answer to a request.
    pub(crate) fn respond(self, method: &Method, path: &str) -> Response {
        let bad = |code: &str, details: String, more: Option<Vec<Problem>>| {
            let message = format!(
                "The server could not fulfill this request (`{method} {path}`) due to a problem with the parameters \
                 that were sent.  See the `details` for more info."
            );
            let mut body = json!({"code": code, "details": details, "message": message});
            if let Some(problems) = more {
                body["problems"] = json!(problems);
            }
            (StatusCode::BAD_REQUEST, Body(body)).into_response()
        };
        match self {
            Self::Criteria(message) => bad("E_INVALID_CRITERIA", message, None),
            Self::Populates(message) => bad("E_INVALID_POPULATES", message, None),
            Self::NewRecord(problems) => bad("E_INVALID_NEW_RECORD", details(&problems), Some(problems)),
            Self::Values(problems) => bad("E_INVALID_VALUES_TO_SET", details(&problems), Some(problems)),
            Self::Associated(problems) => bad("E_INVALID_ASSOCIATED_IDS", details(&problems), Some(problems)),
            Self::Needed(message) => bad("E_FOREIGN_KEY", message, None),
            Self::Unique { identity, names } => {
                let message = "Would violate uniqueness constraint-- \
                               a record already exists with conflicting value(s).";
                let body: Json =
                    json!({"code": "E_UNIQUE", "message": message, "modelIdentity": identity, "attrNames": names});
                (StatusCode::BAD_REQUEST, Body(body)).into_response()
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found").into_response(),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden").into_response(),
            Self::TooManyWrites => {
                let body = json!({"code": "too_many_writes", "message": TOO_MANY_WRITES});
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], Body(body)).into_response()
            }
            error @ Self::ReadOnly { .. } => {
                catamaran::Error::new(StatusCode::FORBIDDEN, error.to_string()).into_response()
            }
            Self::Refused(rejection) => *rejection,
            Self::Violation(violation) => violation.into_error().respond(method, path),
            // What the database did not take of a query is a mistake in its values; the rest is ours.
            Self::Database(error) => match Cause::of(&error) {
                Some(cause) if cause.passes() => {
                    tracing::warn!(%error, "database busy");
                    busy()
                }
                Some(Cause::Incomparable) => {
                    bad("E_INVALID_CRITERIA", "the database cannot compare values of this type".into(), None)
                }
                Some(_) => bad("E_INVALID_CRITERIA", "the database does not take these values".into(), None),
                None => catamaran::Error::from(error).into_response(),
            },
            Self::Own(error) => error.into_response(),
        }
    }
}

pub(crate) fn details(problems: &[Problem]) -> String {
    problems.iter().map(Problem::text).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Criteria(message) | Self::Populates(message) | Self::Needed(message) => f.write_str(message),
            Self::NewRecord(problems) | Self::Values(problems) | Self::Associated(problems) => {
                f.write_str(&details(problems))
            }
            Self::Violation(violation) => violation.clone().into_error().fmt(f),
            Self::Unique { identity, names } => {
                write!(f, "another `{identity}` has the same value already: {}", names.join(", "))
            }
            Self::NotFound => f.write_str("Not Found"),
            Self::Forbidden => f.write_str("Forbidden"),
            Self::TooManyWrites => f.write_str(TOO_MANY_WRITES),
            Self::ReadOnly { identity, association } => write!(
                f,
                "`{association}` of `{identity}` is read-only for requests; `#[field(writable)]` in its model opens it"
            ),
            Self::Refused(rejection) => write!(f, "{}", rejection.status()),
            Self::Database(error) => write!(f, "{error}"),
            Self::Own(error) => write!(f, "{error}"),
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// The answer while the database has no time for a request.
pub(crate) fn busy() -> Response {
    let body = json!({"code": "database_busy", "message": DATABASE_BUSY});
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], Body(body)).into_response()
}

/// What a database refused of a write.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) meta: &'static Meta,
    pub(crate) cause: Cause,
    pub(crate) named: Named,
    /// Whether the record would have been new.
    pub(crate) is_new: bool,
    /// The key of the record that would have ended.
    pub(crate) ended: Option<Value>,
}

impl Violation {
    /// What a client is told of it, by the columns that are known.
    pub(crate) fn into_error(self) -> Error {
        let Self { meta, cause, named, is_new, .. } = self;
        let told = meta.fields.iter().filter(|field| {
            let is_told = !field.flags.hidden || field.flags.create || field.flags.update;
            is_told && named.columns.iter().any(|column| column == field.column())
        });
        let names: Vec<&'static str> = told.map(|field| field.name).collect();
        let message = match cause {
            Cause::Unique => return Error::Unique { identity: meta.identity, names },
            Cause::ForeignKey => return Error::Needed(needed(&names)),
            Cause::NotNull => "a value is required".to_owned(),
            Cause::Check => match named.constraint {
                Some(constraint) => format!("the value violates the constraint `{constraint}`"),
                None => "the value violates a constraint".to_owned(),
            },
            Cause::Trigger => "a rule of the database refuses these values".to_owned(),
            Cause::TooLong => "a value is too long for its column".to_owned(),
            _ => "the database does not take these values".to_owned(),
        };
        let problems = match &names[..] {
            [] => vec![Problem::general(message)],
            names => names.iter().map(|name| Problem::of(*name, message.clone())).collect(),
        };
        if is_new { Error::NewRecord(problems) } else { Error::Values(problems) }
    }
}

fn needed(names: &[&str]) -> String {
    match names {
        [] => "a record that does not exist is referred to, or one that is referred to would go".into(),
        names => format!("`{}` leads to a record that does not exist", names.join("`, `")),
    }
}
