//! What the error of a database means: one table for all databases, and what the error names.

use std::borrow::Cow;

#[cfg(feature = "mysql")]
use sea_orm::sqlx::mysql::MySqlDatabaseError;
#[cfg(feature = "postgres")]
use sea_orm::sqlx::postgres::PgDatabaseError;
use sea_orm::{DbErr, RuntimeErr, SqlxError, sqlx::error::DatabaseError};

/// What an error of a database means to a request. The README of this crate has the answers, under "Refusals of the database".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Another record has the same values.
    Unique,
    /// A key leads nowhere, or would.
    ForeignKey,
    NotNull,
    Check,
    /// A trigger raised an error.
    Trigger,
    TooLong,
    /// Another value that does not fit.
    Unfit,
    /// The type of a column has no such operator.
    Incomparable,
    /// Two transactions were in each other's way: the same may succeed at once.
    Conflict,
    /// The database has no time, or no connection: the same may succeed later.
    Busy,
}

/// SQLSTATEs of PostgreSQL, extended result codes of SQLite, and with `M` the error numbers of MySQL and MariaDB.
///
/// A SQLSTATE that is not here has the cause of its class, if that is here.
const CAUSES: &[(Cause, &[&str])] = &[
    (Cause::Unique, &["23505", "23P01", "2067", "1555", "2579", "M1062", "M1586"]),
    (Cause::ForeignKey, &["23503", "23001", "787", "M1216", "M1217", "M1451", "M1452"]),
    (Cause::NotNull, &["23502", "1299", "M1048", "M1364"]),
    (Cause::Check, &["23514", "275", "M3819", "M4025"]),
    (Cause::Trigger, &["P0001", "1811", "M1644"]),
    (Cause::TooLong, &["22001", "18", "M1406"]),
    (Cause::Unfit, &["22", "23", "19", "20", "3091", "M1264", "M1265", "M1292", "M1366"]),
    (Cause::Incomparable, &["42883"]),
    (Cause::Conflict, &["40001", "40P01", "5", "261", "517", "M1213"]),
    (
        Cause::Busy,
        &[
            "55P03", "57014", "25P03", "57P01", "57P02", "57P03", "53200", "53300", "08", // PostgreSQL
            "6", "9", "262", "773", // SQLite
            "M1205", "M1317", "M1969", "M3024", "M3572", "M1040", "M1053", "M1203",
        ],
    ),
];

impl Cause {
    pub(crate) fn of(error: &DbErr) -> Option<Self> {
        match error {
            DbErr::ConnectionAcquire(_) => return Some(Self::Busy),
            DbErr::Conn(RuntimeErr::SqlxError(cause))
            | DbErr::Exec(RuntimeErr::SqlxError(cause))
            | DbErr::Query(RuntimeErr::SqlxError(cause)) => match &**cause {
                SqlxError::Io(_) | SqlxError::PoolTimedOut | SqlxError::PoolClosed | SqlxError::WorkerCrashed => {
                    return Some(Self::Busy);
                }
                _ => {}
            },
            _ => return None,
        }
        let database = database(error)?;
        let code = code(database);
        // SQLite carries out `restrict` by a trigger of its own.
        if code == "1811" && database.message().contains("FOREIGN KEY constraint failed") {
            return Some(Self::ForeignKey);
        }
        let of = |code: &str| CAUSES.iter().find(|(_, codes)| codes.contains(&code)).map(|(cause, _)| *cause);
        of(&code).or_else(|| of(code.get(..2).filter(|_| code.len() == 5 && !code.starts_with('M'))?))
    }

    /// Whether the values of a request are at fault.
    pub(crate) fn is_about_values(self) -> bool {
        !matches!(self, Self::Incomparable | Self::Conflict | Self::Busy)
    }

    /// Whether the same may succeed at another time.
    pub(crate) fn passes(self) -> bool {
        matches!(self, Self::Conflict | Self::Busy)
    }
}

/// The code of the database's own, for the table and for logs.
pub(crate) fn code_of(error: &DbErr) -> String {
    database(error).map(|error| code(error).into_owned()).unwrap_or_default()
}

fn database(error: &DbErr) -> Option<&dyn DatabaseError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => error.as_database_error(),
        _ => None,
    }
}

fn code(error: &dyn DatabaseError) -> Cow<'_, str> {
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return format!("M{}", error.number()).into();
    }
    error.code().unwrap_or_default()
}

/// What an error names. Of a constraint, the database may have to be asked which columns it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) schema: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) constraint: Option<String>,
    pub(crate) columns: Vec<String>,
}

impl Named {
    pub(crate) fn by(error: &DbErr) -> Self {
        let Some(error) = database(error) else { return Self::default() };
        #[cfg(feature = "postgres")]
        if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
            return Self {
                schema: error.schema().map(str::to_owned),
                table: error.table().map(str::to_owned),
                constraint: error.constraint().map(str::to_owned),
                columns: error.column().map(str::to_owned).into_iter().collect(),
            };
        }
        match error.message().split_once("constraint failed: ") {
            Some((_, named)) => Self::by_sqlite(named),
            None => Self::by_mysql(error.message()),
        }
    }

    /// `pet.owner_id, pet.name`, or the name of a check or its expression.
    fn by_sqlite(named: &str) -> Self {
        let columns: Option<Vec<_>> = named.split(", ").map(|column| Some(column.split_once('.')?.1.into())).collect();
        let is_name = named.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        match columns {
            _ if is_name => Self { constraint: Some(named.into()), ..Self::default() },
            Some(columns) => Self { columns, ..Self::default() },
            None => Self::default(),
        }
    }

    /// `Column 'name' cannot be null`, `Duplicate entry 'x' for key 'pet.one_name'`, `CONSTRAINT 'positive' failed`.
    ///
    /// A value comes before the name of a key, and may have quotes itself.
    fn by_mysql(message: &str) -> Self {
        let after = |word: &str| {
            let (_, rest) = message.rsplit_once(word)?;
            rest.split(['\'', '`']).nth(1).map(|name| name.rsplit('.').next().unwrap_or(name).to_owned())
        };
        let column = ["Column ", "Field ", "for column "].into_iter().find_map(after);
        let constraint = ["for key ", "onstraint ", "CONSTRAINT "].into_iter().find_map(after);
        Self { constraint, columns: column.into_iter().collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_has_two_causes() {
        let mut codes: Vec<_> = CAUSES.iter().flat_map(|(_, codes)| codes.iter()).collect();
        let count = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn messages_of_sqlite_name_columns_or_a_constraint() {
        let columns = |named| Named::by_sqlite(named).columns;
        assert_eq!(columns("pet.owner_id, pet.name"), ["owner_id", "name"]);
        assert_eq!(Named::by_sqlite("old_enough").constraint.as_deref(), Some("old_enough"));
        assert_eq!(Named::by_sqlite("age >= 0"), Named::default());
        assert_eq!(Named::by_sqlite("index 'lower_name'"), Named::default());
    }

    #[test]
    fn messages_of_mysql_name_a_column_or_a_constraint() {
        let named = |message| {
            let Named { constraint, columns, .. } = Named::by_mysql(message);
            (constraint.unwrap_or_default(), columns.concat())
        };
        assert_eq!(named("Column 'name' cannot be null"), (String::new(), "name".into()));
        assert_eq!(named("Data too long for column 'code' at row 1"), (String::new(), "code".into()));
        assert_eq!(named("Duplicate entry 'for key 'x'' for key 'pet.one_name'"), ("one_name".into(), String::new()));
        assert_eq!(named("CONSTRAINT `old_enough` failed for `db`.`pet`"), ("old_enough".into(), String::new()));
        assert_eq!(named("Check constraint 'old_enough' is violated."), ("old_enough".into(), String::new()));
    }
}
