//! Keyed records in a table. Functions of the schema change them, and the database's own clock ends their leases.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio_postgres::{Row, Statement};

use super::{
    connection::{Failure, Parameters},
    link::{Link, unsigned},
    statements::Statements,
};
use crate::{
    FromStore, Record, RecordError, RecordOutcome, RecordPage, RecordTerms,
    broker::records::{RENEWED_AT_ONCE, RecordStore, Renewed, Then, Write, milliseconds, outcome},
};

/// A key that follows all with a prefix: no text has this byte.
fn after_all(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[0xff]].concat()
}

/// The next possible key after another, or the first.
fn next_key(after: Option<&str>, first: &str) -> Vec<u8> {
    after.map_or_else(|| first.into(), |after| [after.as_bytes(), &[0]].concat())
}

/// A time that is within the limits.
fn signed(time: Duration) -> i64 {
    i64::try_from(milliseconds(time)).unwrap_or(i64::MAX)
}

/// A text that was written as one.
fn text(row: &Row, column: &str) -> String {
    String::from_utf8_lossy(row.get::<_, Option<&[u8]>>(column).unwrap_or_default()).into_owned()
}

fn store(row: &Row) -> Arc<str> {
    row.get::<_, &str>("store").into()
}

fn record(row: &Row) -> Record {
    Record {
        holder: text(row, "holder"),
        value: row.get::<_, Option<Vec<u8>>>("value").unwrap_or_default(),
        epoch: unsigned(row.get::<_, Option<i64>>("epoch").unwrap_or_default()),
        lease_left: Duration::from_millis(unsigned(row.get::<_, Option<i64>>("lease_left").unwrap_or_default())),
    }
}

impl Link {
    async fn ask_records(
        &self,
        statement: impl Fn(&Statements) -> &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, RecordError> {
        let session = self.session().ok_or(RecordError::Down)?;
        let rows =
            session.ask_records(statement(&session.statements), parameters).await.map_err(|failure| match failure {
                Failure::Lost(_) | Failure::Late | Failure::Silent => RecordError::Unknown,
                _ => RecordError::Down,
            })?;
        if rows.is_empty() { Err(RecordError::Unknown) } else { Ok(rows) }
    }
}

impl RecordStore for Link {
    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<FromStore<RecordOutcome>, RecordError>> {
        Box::pin(async move {
            let (when, its_holder, its_store, its_epoch) = write.when.parts();
            let none = RecordTerms { lease: Duration::ZERO, keep: Duration::ZERO };
            let (holder, value, terms) = match write.then {
                Then::Set { holder, value, terms } => (Some(holder.as_bytes()), Some(value), terms),
                Then::Remove => (None, None, none),
            };
            let parameters: Parameters<'_> = &[
                &write.key.as_bytes(),
                &when,
                &its_holder.as_bytes(),
                &its_store,
                &its_epoch.cast_signed(),
                &holder,
                &value,
                &signed(terms.lease),
                &signed(terms.keep),
            ];
            let rows = self.ask_records(|statements| &statements.record_write, parameters).await?;
            let answer = outcome(rows[0].get("verdict"), record(&rows[0])).ok_or(RecordError::Unknown)?;
            Ok(FromStore { store: store(&rows[0]), answer })
        })
    }

    fn renew<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<FromStore<Renewed>, RecordError>> {
        Box::pin(async move {
            let most = i32::try_from(RENEWED_AT_ONCE).unwrap_or(i32::MAX);
            let parameters: Parameters<'_> = &[&holder.as_bytes(), &signed(lease), &most, &next_key(after, "")];
            let rows = self.ask_records(|statements| &statements.record_renew, parameters).await?;
            let next = rows[0].get::<_, Option<&[u8]>>("last").map(|_| text(&rows[0], "last"));
            let answer = Renewed { count: unsigned(rows[0].get("renewed")), next };
            Ok(FromStore { store: store(&rows[0]), answer })
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<FromStore<RecordPage>, RecordError>> {
        Box::pin(async move {
            let most = i64::try_from(limit).unwrap_or(i64::MAX);
            let parameters: Parameters<'_> = &[&next_key(after, prefix), &after_all(prefix), &most];
            let rows = self.ask_records(|statements| &statements.record_list, parameters).await?;
            let found = rows.iter().filter(|row| row.get::<_, Option<&[u8]>>("key").is_some());
            let records: Vec<_> = found.map(|row| (text(row, "key"), record(row))).collect();
            let next = records.last().filter(|_| records.len() == limit).map(|(key, _)| key.clone());
            Ok(FromStore { store: store(&rows[0]), answer: RecordPage { records, next } })
        })
    }
}
