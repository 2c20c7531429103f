//! The same calls on every broker, each compared with a model that a reader can check.
//!
//! A lease of these tests is long, or it is over before the next call: then the test waits until the broker says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fastrand::Rng;
use tokio::time::{sleep, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const LONG: Duration = Duration::from_secs(3600);
pub(super) const SHORT: Duration = Duration::from_millis(1);
/// The lease is over, and the record stays.
pub(super) const EXPIRED: RecordTerms = RecordTerms { lease: SHORT, keep: LONG };
pub(super) const HELD: RecordTerms = RecordTerms { lease: LONG, keep: Duration::ZERO };
pub(super) const GONE: RecordTerms = RecordTerms { lease: SHORT, keep: Duration::ZERO };

/// What a record is in the model. All epochs are those that the broker gave.
#[derive(Clone, Debug)]
struct Modelled {
    holder: String,
    value: Vec<u8>,
    epoch: u64,
    is_over: bool,
    is_kept: bool,
}

impl Modelled {
    fn exists(&self) -> bool {
        self.is_kept || !self.is_over
    }
}

/// A record without the time that is left.
pub(super) type Seen = (String, Vec<u8>, u64, bool);

pub(super) fn seen(record: &Record) -> Seen {
    (record.holder.clone(), record.value.clone(), record.epoch, record.lease_left.is_zero())
}

/// What is expected of a write.
#[derive(Debug, PartialEq)]
enum Expected {
    Accepted,
    Held(Seen),
    Absent,
}

/// Runs the calls of one seed.
struct Run<'a> {
    records: &'a Records,
    random: Rng,
    /// What the keys and the holders of this seed begin with.
    tenant: String,
    model: BTreeMap<String, Modelled>,
    /// The highest epoch that each key had.
    highest: BTreeMap<String, u64>,
    store: Option<Arc<str>>,
    log: Vec<String>,
}

impl Run<'_> {
    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.random.usize(..these.len())]
    }

    fn holder(&mut self) -> String {
        // Their names and keys are joined in an index.
        let name = self.one_of(&["a", "a:1", "b", "ü"]);
        format!("{}{name}", self.tenant)
    }

    fn key(&mut self) -> String {
        let name = self.one_of(&["", "1:x", "x", "x/1", "x/2", "x\0", "ü", "𝄞/%_*[", "{other}"]);
        format!("{}{name}", self.tenant)
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = self.random.usize(..20);
        (0..bytes).map(|_| self.random.u8(..)).collect()
    }

    fn check_store(&mut self, store: &Arc<str>) {
        let before = self.store.get_or_insert_with(|| store.clone());
        assert_eq!(before, store, "{:#?}", self.log);
    }

    /// What a write does in the model.
    fn expect(&self, write: &Write<'_>) -> Expected {
        let store = self.store.as_deref().unwrap_or_default();
        let known = self.model.get(write.key).filter(|known| known.exists());
        let Some(known) = known else {
            return if matches!(write.when, When::Absent) { Expected::Accepted } else { Expected::Absent };
        };
        let is_so = match write.when {
            When::Absent => false,
            When::TakenOver(RecordTakeOver::Expired) => known.is_over,
            When::TakenOver(RecordTakeOver::Claim { store: named, epoch }) => named == store && epoch == known.epoch,
            When::HeldBy(fence) => fence.store == store && fence.epoch == known.epoch && fence.holder == known.holder,
        };
        let Modelled { holder, value, epoch, is_over, .. } = known.clone();
        if is_so { Expected::Accepted } else { Expected::Held((holder, value, epoch, is_over)) }
    }

    async fn write(&mut self, write: Write<'_>) {
        self.log.push(format!("{write:?}"));
        let expected = self.expect(&write);
        let Write { key, when, then } = write;
        let answered = match (when, then) {
            (When::Absent, Then::Set { holder, value, terms }) => self.records.claim(key, holder, value, terms).await,
            (When::TakenOver(from), Then::Set { holder, value, terms }) => {
                self.records.take_over(key, from, holder, value, terms).await
            }
            (When::HeldBy(fence), Then::Set { value, terms, .. }) => {
                self.records.replace(key, fence, value, terms).await
            }
            (When::HeldBy(fence), Then::Remove) => self.records.remove(key, fence).await,
            (_, Then::Remove) => unreachable!("only a holder removes"),
        };
        let answered = answered.unwrap_or_else(|error| panic!("{error}: {:#?}", self.log));
        self.check_store(&answered.store);
        let got = match &answered.answer {
            RecordOutcome::Accepted { .. } => Expected::Accepted,
            RecordOutcome::Held(record) => Expected::Held(seen(record)),
            RecordOutcome::Absent => Expected::Absent,
        };
        assert_eq!(got, expected, "{:#?}", self.log);
        let RecordOutcome::Accepted { epoch } = answered.answer else { return };
        let highest = self.highest.entry(key.to_owned()).or_default();
        if let When::HeldBy(fence) = when {
            assert_eq!(epoch, fence.epoch, "{:#?}", self.log);
        } else {
            assert!(epoch > *highest, "{epoch} after {highest}: {:#?}", self.log);
        }
        *highest = epoch.max(*highest);
        self.model.remove(key);
        if let Then::Set { holder, value, terms } = then {
            let (is_over, is_kept) = (terms.lease == SHORT, terms.keep == LONG);
            let modelled = Modelled { holder: holder.into(), value: value.into(), epoch, is_over, is_kept };
            self.model.insert(key.to_owned(), modelled);
            if is_over {
                self.settle().await;
            }
        }
    }

    async fn write_any(&mut self) {
        let key = self.key();
        let (holder, value) = (self.holder(), self.value());
        let terms = self.one_of(&[EXPIRED, EXPIRED, HELD, HELD, GONE]);
        let set = Then::Set { holder: &holder, value: &value, terms };
        // The right names, most often.
        let known = self.model.get(&key).cloned();
        let store = self.store.clone().filter(|_| self.random.u8(..8) > 0).unwrap_or_else(|| "another".into());
        let epoch = known.as_ref().map(|known| known.epoch).filter(|_| self.random.u8(..8) > 0);
        let epoch = epoch.unwrap_or(self.random.u64(..100));
        let former = known.map(|known| known.holder).filter(|_| self.random.u8(..8) > 0).unwrap_or(holder.clone());
        let fence = RecordFence { holder: &former, store: &store, epoch };
        let (when, then) = match self.random.u8(..10) {
            0..3 => (When::Absent, set),
            3 => (When::TakenOver(RecordTakeOver::Expired), set),
            4 => (When::TakenOver(RecordTakeOver::Claim { store: &store, epoch }), set),
            5..8 => (When::HeldBy(fence), Then::Set { holder: &former, value: &value, terms }),
            _ => (When::HeldBy(fence), Then::Remove),
        };
        self.write(Write { key: &key, when, then }).await;
    }

    async fn renew(&mut self) {
        let holder = self.holder();
        let lease = self.one_of(&[LONG, LONG, SHORT]);
        self.log.push(format!("{holder} renews for {lease:?}"));
        let renewed = self.records.renew(&holder, lease).await.unwrap_or_else(|error| panic!("{error}"));
        self.check_store(&renewed.store);
        let mut count = 0;
        for known in self.model.values_mut().filter(|known| known.holder == holder && known.exists()) {
            known.is_over = lease == SHORT;
            count += 1;
        }
        assert_eq!(renewed.answer, count, "{:#?}", self.log);
        self.settle().await;
    }

    async fn list(&mut self) {
        let prefix = self.one_of(&["", "x", "x/", "1:", "ü", "nothing"]);
        let prefix = format!("{}{prefix}", self.tenant);
        let limit = self.one_of(&[1, 2, 100]);
        self.log.push(format!("list of {prefix:?} by {limit}"));
        let (listed, store) = list_all(self.records, &prefix, limit).await;
        self.check_store(&store);
        let known = self.model.iter().filter(|(key, known)| key.starts_with(&prefix) && known.exists());
        let known: Vec<_> = known
            .map(|(key, known)| {
                let Modelled { holder, value, epoch, is_over, .. } = known.clone();
                (key.clone(), (holder, value, epoch, is_over))
            })
            .collect();
        assert_eq!(listed, known, "{:#?}", self.log);
    }

    /// Waits until the broker's clock has ended all leases that are over in the model.
    async fn settle(&self) {
        let over: BTreeSet<_> =
            self.model.iter().filter(|(_, known)| known.is_over).map(|(key, _)| key.clone()).collect();
        until("the end of short leases", async || {
            let (listed, _) = list_all(self.records, &self.tenant, 100).await;
            let lasting = listed.iter().filter(|(key, (.., is_over))| over.contains(key) && !is_over);
            let existing = listed.iter().filter(|(key, _)| self.model.get(key).is_some_and(|known| !known.exists()));
            lasting.count() + existing.count() == 0
        })
        .await;
    }
}

pub(super) async fn list_all(records: &Records, prefix: &str, limit: usize) -> (Vec<(String, Seen)>, Arc<str>) {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = records.list(prefix, after.as_deref(), limit).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(page.answer.records.len() <= limit);
        listed.extend(page.answer.records.iter().map(|(key, record)| (key.clone(), seen(record))));
        after = page.answer.next;
        if after.is_none() {
            return (listed, page.store);
        }
    }
}

pub(super) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !so().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"));
}

/// Compares a broker with the model, by calls of these seeds.
pub(super) async fn agrees_with_the_model(records: &Records, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (tenant, random) = (format!("{seed}/"), Rng::with_seed(seed));
        let (model, highest) = (BTreeMap::new(), BTreeMap::new());
        let log = vec![format!("seed {seed}")];
        let mut run = Run { records, random, tenant, model, highest, store: None, log };
        for _ in 0..60 {
            match run.random.u8(..10) {
                0 => run.renew().await,
                1 => run.list().await,
                _ => run.write_any().await,
            }
        }
        run.list().await;
    }
}
