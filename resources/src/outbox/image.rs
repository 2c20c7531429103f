//! Rows as triggers wrote them down, and what happened to records by these.

use std::collections::HashMap;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Value,
    sea_query::{Alias, Expr, ExprTrait, Func, Order, Query, SelectStatement},
};
use serde_json::value::RawValue;

use super::{
    TABLE,
    triggers::{Watched, literal, qualified, tables},
};
use crate::{
    Error, Meta,
    engine::{Change, Membership, changes_of_membership, changes_of_row, sql},
    meta::{Link, Row, key_text},
};

/// How many rows of the outbox are searched for the end of a record.
const SEARCHED: u64 = 200;

/// A row before and after, as JSON; none where there was none.
type Images = [Option<Box<RawValue>>; 2];

/// What a row that was written down means to records.
pub(super) async fn changes(
    transaction: &DatabaseTransaction,
    resources: &[&'static Meta],
    table: &str,
    images: &str,
    ended: &mut Ended,
) -> Result<Vec<Change>, Error> {
    let images = read(images)?;
    let mut changes = Vec::new();
    let tables = tables(resources);
    let Some(watched) = tables.get(table) else { return Ok(changes) };
    let source = Source { transaction, name: table, watched };
    for meta in resources.iter().copied().filter(|meta| meta.name == table) {
        let [before, after] = source.records(meta, &images).await?;
        changes.extend(changes_of_row(transaction, meta, before.as_ref(), after.as_ref()).await?);
    }
    for meta in resources.iter().copied() {
        for association in &meta.associations {
            let link = meta.link(association);
            let Link::Between { name, ours, theirs, .. } = link else { continue };
            if name.to_string() != table {
                continue;
            }
            let rows = source.rows(&mut source.keys(), &images).await?;
            for (row, membership) in rows.iter().zip([Membership::Ends, Membership::Begins]) {
                let Some(row) = row else { continue };
                let target = association.target();
                let key = |meta: &Meta, column: String| meta.fields[meta.key()].read(row, &column);
                let (ours, theirs) = (key(meta, ours.to_string())?, key(target, theirs.to_string())?);
                let keys = (ours, theirs.clone());
                let Some(mut change) = changes_of_membership(transaction, meta, association, keys, membership).await?
                else {
                    continue;
                };
                if change.member.is_none() {
                    change.member = ended.record(transaction, resources, target, &theirs).await?;
                }
                changes.push(change);
            }
        }
    }
    Ok(changes)
}

fn read(images: &str) -> Result<Images, Error> {
    serde_json::from_str(images).map_err(|error| Error::criteria(error.to_string()))
}

/// Records whose end is written down near the rows that are being told: a link that ended with its record is judged by
/// the record as it was. They are read once a link needs one.
pub(super) struct Ended {
    /// The first row that is being told.
    first: i64,
    records: Option<HashMap<(&'static str, String), Row>>,
}

impl Ended {
    pub(super) fn since(first: i64) -> Self {
        Self { first, records: None }
    }

    async fn record(
        &mut self,
        transaction: &DatabaseTransaction,
        resources: &[&'static Meta],
        meta: &'static Meta,
        key: &Value,
    ) -> Result<Option<Row>, Error> {
        let records = match &mut self.records {
            Some(records) => records,
            none => none.insert(ends(transaction, resources, self.first).await?),
        };
        Ok(records.get(&(meta.identity, key_text(key))).cloned())
    }
}

/// The records that ended in the rows from this one on.
async fn ends(
    transaction: &DatabaseTransaction,
    resources: &[&'static Meta],
    first: i64,
) -> Result<HashMap<(&'static str, String), Row>, Error> {
    let tables = tables(resources);
    let mut select = Query::select();
    select.from(Alias::new(TABLE)).columns(["changed_table", "message"].map(Alias::new));
    select.and_where(Expr::col(Alias::new("changed_table")).is_in(tables.keys().map(String::as_str)));
    select.and_where(Expr::col(Alias::new("seq")).gte(first));
    select.order_by(Alias::new("seq"), Order::Asc).limit(SEARCHED);
    let mut records = HashMap::new();
    for row in transaction.query_all(&select).await? {
        let (table, images): (String, String) = (row.try_get("", "changed_table")?, row.try_get("", "message")?);
        // A row that is no image is told, or passed over, by itself.
        let Ok(images @ [Some(_), None]) = read(&images) else { continue };
        let Some(watched) = tables.get(&*table) else { continue };
        let source = Source { transaction, name: &table, watched };
        for meta in resources.iter().copied().filter(|meta| meta.name == table) {
            let [before, _] = source.records(meta, &images).await?;
            records.extend(before.map(|row| ((meta.identity, key_text(row.value(meta.key()))), row)));
        }
    }
    Ok(records)
}

/// Where images are read from: the database makes values of them that have the types of their columns.
struct Source<'a> {
    transaction: &'a DatabaseTransaction,
    name: &'a str,
    watched: &'a Watched<'a>,
}

impl Source<'_> {
    async fn records(&self, meta: &'static Meta, images: &Images) -> Result<[Option<Row>; 2], Error> {
        let mut select = sql::select(meta);
        let [before, after] = self.rows(select.from_clear(), images).await?;
        let record = |row: Option<QueryResult>| row.map(|row| (meta.decode)(meta, &row)).transpose();
        Ok([record(before)?, record(after)?])
    }

    /// The columns of a table between.
    fn keys(&self) -> SelectStatement {
        let mut select = Query::select();
        select.columns(self.watched.columns.iter().map(Alias::new));
        select
    }

    async fn rows(&self, select: &mut SelectStatement, images: &Images) -> Result<[Option<QueryResult>; 2], Error> {
        let there: Vec<&str> = images.iter().flatten().map(|image| image.get()).collect();
        let json = format!("[{}]", there.join(","));
        match self.transaction.get_database_backend() {
            DbBackend::Postgres => {
                let null = Expr::cust(format!("null::{}", qualified(self.watched.table)));
                let rows = Func::cust("json_populate_recordset").arg(null).arg(Expr::val(json).cast_as("json"));
                select.from_function(rows, Alias::new(self.name));
            }
            _ => {
                select.from_subquery(self.of_sqlite(json), Alias::new(self.name));
            }
        }
        let mut rows = self.transaction.query_all(select).await?.into_iter();
        Ok([0, 1].map(|at| images[at].as_ref().and_then(|_| rows.next())))
    }

    fn of_sqlite(&self, json: String) -> SelectStatement {
        let mut select = Query::select();
        for column in &self.watched.columns {
            let part = |at: usize| {
                let path = literal(&format!("$.\"{column}\"[{at}]"));
                format!("json_extract(value, {path})")
            };
            let (kind, value) = (part(0), part(1));
            let value = format!(
                "case {kind} when 'blob' then unhex({value}) when 'real' then cast({value} as real) else {value} end"
            );
            select.expr_as(Expr::cust(value), Alias::new(column));
        }
        select.from_function(Func::cust("json_each").arg(json), "image").order_by(Alias::new("key"), Order::Asc);
        select
    }
}
