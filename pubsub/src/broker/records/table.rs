//! The records of one process: those of a server without a broker between servers, and those of tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, ready};
use tokio::time::Instant;

use super::{
    FromStore, RENEWED_AT_ONCE, Record, RecordError, RecordFence, RecordOutcome, RecordPage, RecordStore,
    RecordTakeOver, RecordTerms, Renewed, Then, When, Write,
};
use crate::epoch;

/// How many records that are gone a call forgets.
const FORGOTTEN_AT_ONCE: usize = 64;

/// Records by their keys, on the clock of this process.
#[derive(Debug)]
pub(crate) struct Table {
    store: Arc<str>,
    /// The epoch of the last claim.
    epoch: u64,
    records: BTreeMap<Arc<str>, Kept>,
    /// When each of them is gone.
    ends: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Kept {
    holder: String,
    value: Vec<u8>,
    epoch: u64,
    until: Instant,
    keep: Duration,
}

impl Kept {
    fn end(&self) -> Instant {
        self.until + self.keep
    }

    fn at(&self, now: Instant) -> Record {
        Record {
            holder: self.holder.clone(),
            value: self.value.clone(),
            epoch: self.epoch,
            lease_left: self.until.saturating_duration_since(now),
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { store: epoch(), epoch: 0, records: BTreeMap::new(), ends: BTreeSet::new() }
    }
}

impl Table {
    pub(crate) fn write(&mut self, write: Write<'_>) -> FromStore<RecordOutcome> {
        let now = self.now();
        let Write { key, when, then } = write;
        let known = self.records.get(key).filter(|kept| kept.end() > now);
        let is_so = match (when, known) {
            (When::Absent, known) => known.is_none(),
            (_, None) => return self.answer(RecordOutcome::Absent),
            (When::TakenOver(RecordTakeOver::Expired), Some(kept)) => kept.until <= now,
            (When::TakenOver(RecordTakeOver::Claim { store, epoch }), Some(kept)) => {
                *store == *self.store && epoch == kept.epoch
            }
            (When::HeldBy(RecordFence { holder, store, epoch }), Some(kept)) => {
                *store == *self.store && epoch == kept.epoch && holder == kept.holder
            }
        };
        if let Some(kept) = known.filter(|_| !is_so) {
            return self.answer(RecordOutcome::Held(kept.at(now)));
        }
        let held = known.filter(|_| matches!(when, When::HeldBy(_))).map(|kept| kept.epoch);
        let epoch = held.unwrap_or(self.epoch + 1);
        self.epoch = self.epoch.max(epoch);
        self.remove(key);
        if let Then::Set { holder, value, terms: RecordTerms { lease, keep } } = then {
            let kept = Kept { holder: holder.into(), value: value.into(), epoch, until: now + lease, keep };
            let key: Arc<str> = key.into();
            self.ends.insert((kept.end(), key.clone()));
            self.records.insert(key, kept);
        }
        self.answer(RecordOutcome::Accepted { epoch })
    }

    pub(crate) fn renew(&mut self, holder: &str, lease: Duration, after: Option<&str>) -> FromStore<Renewed> {
        let now = self.now();
        let mut renewed = Renewed { count: 0, next: None };
        let mut ends = Vec::new();
        for (key, kept) in self.records.range_mut::<str, _>((after.map_or(Unbounded, Excluded), Unbounded)) {
            if kept.holder != holder || kept.end() <= now {
                continue;
            }
            ends.push((kept.end(), now + lease + kept.keep, key.clone()));
            kept.until = now + lease;
            renewed.count += 1;
            if ends.len() == RENEWED_AT_ONCE {
                renewed.next = Some(key.to_string());
                break;
            }
        }
        for (before, end, key) in ends {
            self.ends.remove(&(before, key.clone()));
            self.ends.insert((end, key));
        }
        self.answer(renewed)
    }

    pub(crate) fn list(&mut self, prefix: &str, after: Option<&str>, limit: usize) -> FromStore<RecordPage> {
        let now = self.now();
        // The prefix itself may be a key.
        let from = after.map_or(Included(prefix), Excluded);
        let matching = self.records.range::<str, _>((from, Unbounded));
        let matching = matching.take_while(|(key, _)| key.starts_with(prefix));
        let existing = matching.filter(|(_, kept)| kept.end() > now);
        let mut records: Vec<_> = existing.take(limit + 1).map(|(key, kept)| (key.to_string(), kept.at(now))).collect();
        let is_last = records.len() <= limit;
        records.truncate(limit);
        let next = if is_last { None } else { records.last().map(|(key, _)| key.clone()) };
        self.answer(RecordPage { records, next })
    }

    /// The time, when some records that are gone are forgotten.
    fn now(&mut self) -> Instant {
        let now = Instant::now();
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((_, key)) = self.ends.first().filter(|(end, _)| *end <= now).cloned() else { break };
            self.remove(&key);
        }
        now
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, kept)) = self.records.remove_entry(key) {
            self.ends.remove(&(kept.end(), key));
        }
    }

    fn answer<T>(&self, answer: T) -> FromStore<T> {
        FromStore { store: self.store.clone(), answer }
    }
}

impl RecordStore for Mutex<Table> {
    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<FromStore<RecordOutcome>, RecordError>> {
        let outcome = self.lock().unwrap_or_else(PoisonError::into_inner).write(write);
        Box::pin(ready(Ok(outcome)))
    }

    fn renew<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<FromStore<Renewed>, RecordError>> {
        let renewed = self.lock().unwrap_or_else(PoisonError::into_inner).renew(holder, lease, after);
        Box::pin(ready(Ok(renewed)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<FromStore<RecordPage>, RecordError>> {
        let page = self.lock().unwrap_or_else(PoisonError::into_inner).list(prefix, after, limit);
        Box::pin(ready(Ok(page)))
    }
}
