//! Keyed records in Redis. Scripts change them, and Redis' own clock ends their leases.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use redis::{Cmd, FromRedisValue};

use super::{RedisBroker, script::Script, session::Failure};
use crate::{
    FromStore, Record, RecordError, RecordOutcome, RecordPage, RecordTerms,
    broker::records::{RENEWED_AT_ONCE, RecordStore, Renewed, Then, Write, milliseconds, outcome},
    epoch,
};

/// The key, the holder, the value, the epoch, and the milliseconds that are left of the lease.
type Shown = (String, String, Vec<u8>, u64, u64);

fn record((key, holder, value, epoch, left): Shown) -> (String, Record) {
    (key, Record { holder, value, epoch, lease_left: Duration::from_millis(left) })
}

impl RedisBroker {
    async fn ask_records<T: FromRedisValue>(
        &self,
        script: Script,
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<T, RecordError> {
        let session = self.shared.session().ok_or(RecordError::Down)?;
        let keys = self.shared.keys.records();
        let asked = session.call(script, &keys, |command| {
            command.arg(&*epoch());
            arguments(command);
        });
        asked.await.map_err(|failure| match failure {
            Failure::Refused(_) => RecordError::Down,
            Failure::Lost => RecordError::Unknown,
        })
    }
}

impl RecordStore for RedisBroker {
    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<FromStore<RecordOutcome>, RecordError>> {
        Box::pin(async move {
            let (when, holder, store, epoch) = write.when.parts();
            let asked = self.ask_records(Script::RecordWrite, |command| {
                command.arg(write.key).arg(when).arg(holder).arg(store).arg(epoch);
                match write.then {
                    Then::Set { holder, value, terms: RecordTerms { lease, keep } } => {
                        command.arg("set").arg(holder).arg(value).arg(milliseconds(lease)).arg(milliseconds(keep));
                    }
                    Then::Remove => drop(command.arg("remove")),
                }
            });
            let (store, verdict, shown): (String, String, Shown) = asked.await?;
            let answer = outcome(&verdict, record(shown).1).ok_or(RecordError::Unknown)?;
            Ok(FromStore { store: Arc::from(store), answer })
        })
    }

    fn renew<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<FromStore<Renewed>, RecordError>> {
        Box::pin(async move {
            let asked = self.ask_records(Script::RecordRenew, |command| {
                command.arg(holder).arg(milliseconds(lease)).arg(RENEWED_AT_ONCE);
                command.arg(u8::from(after.is_some())).arg(after.unwrap_or_default());
            });
            let (store, count, next): (String, u64, Option<String>) = asked.await?;
            Ok(FromStore { store: Arc::from(store), answer: Renewed { count, next } })
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<FromStore<RecordPage>, RecordError>> {
        Box::pin(async move {
            let asked = self.ask_records(Script::RecordList, |command| {
                command.arg(prefix).arg(limit).arg(u8::from(after.is_some())).arg(after.unwrap_or_default());
            });
            let (store, shown, next): (String, Vec<Shown>, Option<String>) = asked.await?;
            let records = shown.into_iter().map(record).collect();
            Ok(FromStore { store: Arc::from(store), answer: RecordPage { records, next } })
        })
    }
}
