//! What each broker does about records, and what it is asked.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

#[cfg(any(feature = "postgres", feature = "redis"))]
use super::record::Record;
use super::record::{FromStore, RecordError, RecordFence, RecordOutcome, RecordPage, RecordTakeOver, RecordTerms};

/// How many leases the broker renews in one step.
pub(crate) const RENEWED_AT_ONCE: usize = 500;

/// Keeps the records of an application. What it is asked is within the limits.
pub(crate) trait RecordStore: fmt::Debug + Send + Sync {
    /// Changes one record in one step, if it is as the write says.
    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<FromStore<RecordOutcome>, RecordError>>;

    /// Renews some leases of a holder in one step, in the order of the keys.
    fn renew<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<FromStore<Renewed>, RecordError>>;

    /// Reads a page in one step. No key before the prefix is named.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<FromStore<RecordPage>, RecordError>>;
}

/// A change of one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) key: &'a str,
    pub(crate) when: When<'a>,
    pub(crate) then: Then<'a>,
}

/// What must be so for a write. All but a claim need an existing record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When<'a> {
    Absent,
    TakenOver(RecordTakeOver<'a>),
    HeldBy(RecordFence<'a>),
}

/// What a write does. The record has a new epoch unless its holder writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then<'a> {
    Set { holder: &'a str, value: &'a [u8], terms: RecordTerms },
    Remove,
}

/// How many leases were renewed, and the key after which more may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renewed {
    pub(crate) count: u64,
    pub(crate) next: Option<String>,
}

/// The text of a condition between processes, with the holder, the store and the epoch that it names.
#[cfg(any(feature = "postgres", feature = "redis"))]
impl<'a> When<'a> {
    pub(crate) fn parts(self) -> (&'static str, &'a str, &'a str, u64) {
        match self {
            Self::Absent => ("absent", "", "", 0),
            Self::TakenOver(RecordTakeOver::Expired) => ("expired", "", "", 0),
            Self::TakenOver(RecordTakeOver::Claim { store, epoch }) => ("claim", "", store, epoch),
            Self::HeldBy(RecordFence { holder, store, epoch }) => ("held", holder, store, epoch),
        }
    }
}

/// In milliseconds, rounded up, so that nothing becomes zero that is not.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The outcome that a broker between servers names by a text.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn outcome(verdict: &str, record: Record) -> Option<RecordOutcome> {
    match verdict {
        "accepted" => Some(RecordOutcome::Accepted { epoch: record.epoch }),
        "held" => Some(RecordOutcome::Held(record)),
        "absent" => Some(RecordOutcome::Absent),
        _ => None,
    }
}
