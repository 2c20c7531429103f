//! Triggers that write down what happens to records, whoever does it.

use std::collections::BTreeMap;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement, Value,
    sea_query::{TableName, TableRef},
};

use super::{TABLE, postgres};
use crate::{Meta, meta::Link};

/// A table that is watched: of a resource, or between two.
pub(super) struct Watched<'a> {
    pub(super) table: &'a TableRef,
    pub(super) columns: Vec<String>,
}

/// The tables of resources and those between them, by their names.
pub(super) fn tables<'a>(resources: &'a [&'static Meta]) -> BTreeMap<String, Watched<'a>> {
    let mut tables = BTreeMap::new();
    for meta in resources {
        let columns = meta.fields.iter().map(|field| field.column().to_owned()).collect();
        tables.insert(meta.name.to_owned(), Watched { table: &meta.table, columns });
        for association in &meta.associations {
            if let Link::Between { table, name, ours, theirs } = meta.link(association) {
                let columns = [ours, theirs].map(ToString::to_string).into();
                tables.entry(name.to_string()).or_insert(Watched { table, columns });
            }
        }
    }
    tables
}

/// Refuses tables of one name in several schemas: their triggers and rows would be those of one.
pub(super) fn names_differ(resources: &[&'static Meta]) -> Result<(), DbErr> {
    let (mut known, tables) = (BTreeMap::new(), resources.iter().map(|meta| (meta.name.to_owned(), &meta.table)));
    let between = resources.iter().flat_map(|meta| {
        meta.associations.iter().filter_map(|association| match meta.link(association) {
            Link::Between { table, name, .. } => Some((name.to_string(), table)),
            _ => None,
        })
    });
    for (name, table) in tables.chain(between) {
        let (one, other) = (qualified(table), known.entry(name).or_insert_with(|| qualified(table)).clone());
        if one != other {
            let message = format!("the tables {one} and {other} have one name, so triggers cannot tell them apart");
            return Err(DbErr::Custom(message));
        }
    }
    Ok(())
}

/// The tables that have triggers.
pub(super) async fn there(transaction: &DatabaseTransaction) -> Result<Vec<String>, DbErr> {
    let backend = transaction.get_database_backend();
    let select = match backend {
        DbBackend::Postgres => postgres::THERE,
        DbBackend::Sqlite => {
            "select distinct tbl_name as name from sqlite_master where type = 'trigger' and name glob 'catamaran_*'"
        }
        _ => return Ok(Vec::new()),
    };
    let rows = transaction.query_all_raw(Statement::from_string(backend, select)).await?;
    rows.iter().map(|row| row.try_get("", "name")).collect()
}

/// Makes the triggers of all tables of these resources, unless they are there.
pub(super) async fn make(transaction: &DatabaseTransaction, resources: &[&'static Meta]) -> Result<(), DbErr> {
    let (tables, there) = (tables(resources), there(transaction).await?);
    for table in there.iter().filter(|table| !tables.contains_key(*table)) {
        tracing::warn!(table, "has triggers, and nobody here tells what they write: drop them if it is of no resource");
    }
    match transaction.get_database_backend() {
        DbBackend::Postgres => postgres::make(transaction, tables.iter()).await,
        DbBackend::Sqlite => {
            transaction.execute_unprepared("create table if not exists catamaran_request (leaves_out text)").await?;
            for (name, watched) in &tables {
                // These name the columns, which may be others by now.
                for (event, trigger) in of_sqlite(name, watched) {
                    let trigger_name = quoted(&format!("catamaran_{event}_{name}"));
                    transaction.execute_unprepared(&format!("drop trigger if exists {trigger_name}")).await?;
                    transaction.execute_unprepared(&format!("create trigger {trigger_name} {trigger}")).await?;
                }
            }
            Ok(())
        }
        _ => Err(DbErr::Custom("triggers are there for SQLite and PostgreSQL".into())),
    }
}

/// The triggers of a table of SQLite, which has none for several events.
fn of_sqlite(name: &str, watched: &Watched<'_>) -> [(&'static str, String); 3] {
    let table = qualified(watched.table);
    let image = |of: &str| {
        // JSON has no blobs, and a number that went through text of 15 digits is another.
        let values = watched.columns.iter().map(|column| {
            let value = format!("{of}.{}", quoted(column));
            format!(
                "{}, json_array(typeof({value}), case typeof({value}) \
                 when 'blob' then hex({value}) when 'real' then printf('%!.20g', {value}) else {value} end)",
                literal(column)
            )
        });
        format!("json_object({})", values.collect::<Vec<_>>().join(", "))
    };
    let (old, new) = (image("old"), image("new"));
    let differs = watched.columns.iter().map(|column| format!("old.{0} is not new.{0}", quoted(column)));
    let differs = differs.collect::<Vec<_>>().join(" or ");
    let insert = |before: &str, after: &str| {
        format!(
            "begin insert into {TABLE} (changed_table, message, leaves_out) \
             values ({}, json_array({before}, {after}), (select leaves_out from catamaran_request)); end",
            literal(name)
        )
    };
    [
        ("insert", format!("after insert on {table} {}", insert("null", &new))),
        ("update", format!("after update on {table} when {differs} {}", insert(&old, &new))),
        ("delete", format!("after delete on {table} {}", insert(&old, "null"))),
    ]
}

/// Makes the triggers leave out a socket, in this transaction.
pub(super) async fn leave_out(transaction: &DatabaseTransaction, except: String) -> Result<(), DbErr> {
    let backend = transaction.get_database_backend();
    let statement = match backend {
        DbBackend::Postgres => "select set_config('catamaran.leaves_out', $1, true)",
        _ => "insert into catamaran_request values ($1)",
    };
    let statement = Statement::from_sql_and_values(backend, statement, [Value::from(except)]);
    transaction.execute_raw(statement).await.map(drop)
}

/// Ends that; in PostgreSQL the transaction does.
pub(super) async fn leave_out_nobody(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    match transaction.get_database_backend() {
        DbBackend::Sqlite => transaction.execute_unprepared("delete from catamaran_request").await.map(drop),
        _ => Ok(()),
    }
}

/// A table as it stands in a statement.
pub(super) fn qualified(table: &TableRef) -> String {
    match table {
        TableRef::Table(TableName(Some(schema), name), _) => {
            format!("{}.{}", quoted(&schema.1.to_string()), quoted(&name.to_string()))
        }
        TableRef::Table(TableName(None, name), _) => quoted(&name.to_string()),
        _ => String::new(),
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
