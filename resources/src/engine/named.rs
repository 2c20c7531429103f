//! What a refusal of a database is about, which is asked once its transaction is over: PostgreSQL answers nothing before.

use sea_orm::{
    Condition, ConnectionTrait, DbBackend, DbErr, Statement, Value,
    sea_query::{Expr, ForeignKeyAction, Query},
};

use super::sql;
use crate::{
    Error, Meta,
    error::Violation,
    meta::Link,
    refusal::{Cause, Named},
};

/// The columns of a constraint or of a unique index.
const OF_POSTGRES: &str = "
    select a.attname as name from pg_class t
    join pg_namespace n on n.oid = t.relnamespace
    join pg_attribute a on a.attrelid = t.oid
    where n.nspname = $1 and t.relname = $2 and (
        exists (select from pg_constraint c where c.conrelid = t.oid and c.conname = $3 and a.attnum = any (c.conkey))
        or exists (
            select from pg_index x join pg_class i on i.oid = x.indexrelid
            where x.indrelid = t.oid and i.relname = $3 and a.attnum = any (x.indkey)
        )
    )";
const OF_MYSQL: &str = "
    select column_name as name from information_schema.statistics
    where table_schema = database() and table_name = ? and index_name = ?";

/// An error with the fields, or the associations, that a refusal is about.
pub(crate) async fn named(error: Error, db: &impl ConnectionTrait) -> Error {
    let Error::Violation(mut violation) = error else { return error };
    let found = match (&violation.ended, violation.cause) {
        (Some(key), Cause::ForeignKey) => match needing(db, violation.meta, key).await {
            Ok(names) if names.is_empty() => Ok(()),
            Ok(names) => {
                let names = names.join("`, `");
                return Error::Needed(format!("the record is needed by others: remove what `{names}` leads to first"));
            }
            Err(error) => Err(error),
        },
        _ => columns(db, &mut violation).await,
    };
    if let Err(error) = found {
        tracing::warn!(%error, "the database does not tell which columns a constraint has");
    }
    violation.into_error()
}

/// The associations that lead to records with the key of one that should end, where the key can neither be set to null nor
/// end with it.
async fn needing(db: &impl ConnectionTrait, meta: &'static Meta, key: &Value) -> Result<Vec<&'static str>, DbErr> {
    let mut names = Vec::new();
    for association in meta.associations.iter().filter(|association| meta.shows(association)) {
        let target = association.target();
        let Link::Theirs(at) = meta.link(association) else { continue };
        let cascades = meta
            .inverse(association)
            .is_some_and(|inverse| matches!(inverse.relation().on_delete, Some(ForeignKeyAction::Cascade)));
        if cascades || target.fields[*at].null().is_some() {
            continue;
        }
        let mut select = Query::select();
        select.expr(Expr::val(1)).from(target.table.clone()).limit(1);
        select.cond_where(Condition::all().add(sql::equals(target, *at, key.clone())));
        if db.query_one(&select).await?.is_some() {
            names.push(association.name());
        }
    }
    Ok(names)
}

/// Looks up the columns of a constraint.
async fn columns(db: &impl ConnectionTrait, violation: &mut Violation) -> Result<(), DbErr> {
    let Violation { meta, named, .. } = violation;
    let Named { schema, table, constraint: Some(constraint), columns } = named else { return Ok(()) };
    if !columns.is_empty() {
        return Ok(());
    }
    let backend = db.get_database_backend();
    let table = table.as_deref().unwrap_or(meta.name);
    // A constraint of another table has other columns.
    if table != meta.name {
        return Ok(());
    }
    let (statement, values) = match (backend, schema) {
        (DbBackend::Postgres, Some(schema)) => (OF_POSTGRES, vec![schema.as_str(), table, constraint]),
        (DbBackend::MySql, _) => (OF_MYSQL, vec![table, constraint]),
        _ => return Ok(()),
    };
    let values = values.into_iter().map(Value::from);
    let rows = db.query_all_raw(Statement::from_sql_and_values(backend, statement, values)).await?;
    *columns = rows.iter().map(|row| row.try_get("", "name")).collect::<Result<_, _>>()?;
    Ok(())
}
