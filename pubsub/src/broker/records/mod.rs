//! Keyed records that the servers of an application share: each has a holder, a lease and an epoch.
//!
//! [`Records`] checks the limits and asks a [`RecordStore`], which each broker has.

#[cfg(all(test, feature = "postgres", feature = "redis"))]
mod model;
#[cfg(all(test, feature = "postgres", feature = "redis"))]
mod shared;
mod table;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
pub(crate) use table::Table;

use super::Broker;

/// The longest key of a record, in bytes. A longer prefix matches nothing and is refused, too.
pub const MAX_RECORD_KEY_BYTES: usize = 1024;
/// The longest name of a holder, in bytes.
pub const MAX_RECORD_HOLDER_BYTES: usize = 256;
/// The longest value of a record, in bytes.
pub const MAX_RECORD_VALUE_BYTES: usize = 64 * 1024;
/// The most records of one page of a list.
pub const MAX_RECORD_PAGE: usize = 100;
/// The longest lease, and the longest time for which a record is kept after it.
pub const MAX_RECORD_TIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many leases the broker renews in one step.
pub(crate) const RENEWED_AT_ONCE: usize = 500;

/// Reads and writes keyed records that all servers of an application share.
///
/// # Leases
///
/// A record belongs to one *holder*, a name that the caller chooses, until its lease is over on the broker's own clock. The broker then
/// keeps the record as long as [`RecordTerms::keep`] says, so that a caller learns that somebody began and did not end. After that
/// the record does not exist. An existing record has no second holder, even if its lease is over: only
/// [`take_over`](Self::take_over) changes the holder.
///
/// # Epochs
///
/// Each claim and each take-over gives the record an epoch that is higher than all before it for this key in the same store. A write
/// names it with its [`RecordFence`], and the broker refuses the writes of a former holder.
///
/// Each answer names the *store*, a random value that the broker keeps beside the records. It is another one once the broker has forgotten
/// records: after `FLUSHALL`, after a restart, after a failover to a server that may know less, or if Redis evicted a part of them.
/// All records are gone then, and no fence of the former store is accepted.
///
/// # What is one step
///
/// [`claim`](Self::claim), [`take_over`](Self::take_over), [`replace`](Self::replace) and [`remove`](Self::remove) are one step each,
/// which no other call comes between. [`renew`](Self::renew) and [`list`](Self::list) are one step for each 500 leases, or for each page.
/// A call whose future is dropped may still happen.
///
/// ```
/// # use std::time::Duration;
/// # use catamaran_pubsub::{Cluster, RecordFence, RecordOutcome, RecordTerms};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), catamaran_pubsub::RecordError> {
/// let cluster = Cluster::new();
/// let records = cluster.registry().records();
/// let terms = RecordTerms { lease: Duration::from_secs(30), keep: Duration::from_secs(3600) };
/// let claimed = records.claim("order:7", "server 1", b"", terms).await?;
/// let RecordOutcome::Accepted { epoch } = claimed.answer else { panic!("somebody has it") };
///
/// let fence = RecordFence { holder: "server 1", store: &claimed.store, epoch };
/// records.replace("order:7", fence, b"paid", terms).await?;
/// let RecordOutcome::Held(record) = records.claim("order:7", "server 2", b"", terms).await?.answer else {
///     panic!("nobody has it")
/// };
/// assert_eq!(record.value, b"paid");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Records {
    broker: Arc<dyn Broker>,
}

/// How long a record counts, by the broker's clock. The broker counts in milliseconds, and rounds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTerms {
    /// How long the holder has it.
    pub lease: Duration,
    /// How long the broker keeps it after the end of the lease.
    pub keep: Duration,
}

/// A record as the broker has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Who has it, or had it last.
    pub holder: String,
    /// What the holder wrote.
    pub value: Vec<u8>,
    /// Higher with each claim and each take-over of this key.
    pub epoch: u64,
    /// What is left of the lease; zero if it is over.
    pub lease_left: Duration,
}

/// Without the value, which may be a secret of a client.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holder, value, epoch, lease_left } = self;
        let bytes = value.len();
        write!(f, "Record {{ holder: {holder:?}, bytes: {bytes}, epoch: {epoch}, lease_left: {lease_left:?} }}")
    }
}

/// Names the claim that a write belongs to. The broker refuses the write once the record has another epoch or store.
#[derive(Clone, Copy, Debug)]
pub struct RecordFence<'a> {
    /// The holder of the claim.
    pub holder: &'a str,
    /// The store that accepted the claim.
    pub store: &'a str,
    /// The epoch that the claim has.
    pub epoch: u64,
}

/// Whose record a caller takes over.
#[derive(Clone, Copy, Debug)]
pub enum RecordTakeOver<'a> {
    /// That of anybody whose lease is over.
    Expired,
    /// That of one claim, also if its lease is not over.
    Claim {
        /// The store that answered with the record.
        store: &'a str,
        /// The epoch that the record has.
        epoch: u64,
    },
}

/// An answer, and the store that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromStore<T> {
    /// A random value. If it is not that of the answer before, the broker has forgotten all records in between.
    pub store: Arc<str>,
    /// What was asked for.
    pub answer: T,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It was done.
    Accepted {
        /// The epoch that the record has, or had.
        epoch: u64,
    },
    /// Nothing was written: the record is as it was.
    Held(Record),
    /// Nothing was written: there is no record.
    Absent,
}

/// Some records in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPage {
    /// The keys, with their records. They may be fewer than asked for although more follow.
    pub records: Vec<(String, Record)>,
    /// The key after which the next page begins; none if this is the last.
    pub next: Option<String>,
}

/// Why a call was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The call did not reach the broker: nothing was written.
    #[error("the broker cannot be reached; nothing was written, retry later")]
    Down,
    /// The call may have reached the broker: it was done, or it was not. Renewing may have been done in part.
    #[error("the connection to the broker ended before its answer; read the record to see whether it was written")]
    Unknown,
    /// A key, or a prefix, with more than [`MAX_RECORD_KEY_BYTES`]. Nothing was asked.
    #[error("a key of a record must have at most {MAX_RECORD_KEY_BYTES} bytes")]
    KeyTooLong,
    /// A holder with more than [`MAX_RECORD_HOLDER_BYTES`]. Nothing was asked.
    #[error("a holder of a record must have at most {MAX_RECORD_HOLDER_BYTES} bytes")]
    HolderTooLong,
    /// A value with more than [`MAX_RECORD_VALUE_BYTES`]. Nothing was asked.
    #[error("a value of a record must have at most {MAX_RECORD_VALUE_BYTES} bytes")]
    ValueTooLong,
    /// A lease, or a time to keep, of more than [`MAX_RECORD_TIME`]. Nothing was asked.
    #[error("a lease, and the time that a record is kept after it, must be at most 30 days each")]
    TimeTooLong,
    /// A page of no record, or of more than [`MAX_RECORD_PAGE`]. Nothing was asked.
    #[error("a page must have between 1 and {MAX_RECORD_PAGE} records")]
    PageSize,
}

impl Records {
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }

    /// Sets a record if there is none.
    ///
    /// Of several callers at once, one is accepted. The others are answered with its record.
    ///
    /// # Errors
    ///
    /// If the broker cannot be reached or does not answer, or the key, the holder, the value or a time is too long.
    pub async fn claim(
        &self,
        key: &str,
        holder: &str,
        value: &[u8],
        terms: RecordTerms,
    ) -> Result<FromStore<RecordOutcome>, RecordError> {
        self.write(key, When::Absent, Then::Set { holder, value, terms }).await
    }

    /// Takes a record from its holder, whose writes the broker refuses from then on.
    ///
    /// # Errors
    ///
    /// As with [`claim`](Self::claim).
    pub async fn take_over(
        &self,
        key: &str,
        from: RecordTakeOver<'_>,
        holder: &str,
        value: &[u8],
        terms: RecordTerms,
    ) -> Result<FromStore<RecordOutcome>, RecordError> {
        self.write(key, When::TakenOver(from), Then::Set { holder, value, terms }).await
    }

    /// Replaces the value of a record, and begins its lease again. The epoch stays.
    ///
    /// The holder may do so after the end of its lease, as long as the record exists and nobody has taken it over.
    ///
    /// # Errors
    ///
    /// As with [`claim`](Self::claim).
    pub async fn replace(
        &self,
        key: &str,
        fence: RecordFence<'_>,
        value: &[u8],
        terms: RecordTerms,
    ) -> Result<FromStore<RecordOutcome>, RecordError> {
        self.write(key, When::HeldBy(fence), Then::Set { holder: fence.holder, value, terms }).await
    }

    /// Removes a record.
    ///
    /// # Errors
    ///
    /// If the broker cannot be reached or does not answer, or the key or the holder is too long.
    pub async fn remove(&self, key: &str, fence: RecordFence<'_>) -> Result<FromStore<RecordOutcome>, RecordError> {
        self.write(key, When::HeldBy(fence), Then::Remove).await
    }

    /// Begins the leases of all records of a holder again, and returns how many these are.
    ///
    /// A lease that is over is among them as long as its record exists. What the holder had and is not among them was taken over, or it is
    /// gone. Each record costs the broker one write. If the store changes meanwhile, the answer counts those of the last one.
    ///
    /// # Errors
    ///
    /// If the broker cannot be reached or does not answer, or the holder or the lease is too long. Some leases may be renewed
    /// already, also with [`RecordError::Down`].
    pub async fn renew(&self, holder: &str, lease: Duration) -> Result<FromStore<u64>, RecordError> {
        check_holder(holder)?;
        check_time(lease)?;
        let (mut store, mut count, mut after) = (None::<Arc<str>>, 0, None::<String>);
        loop {
            let renewed = self.broker.records().renew(holder, lease, after.as_deref()).await?;
            if store.replace(renewed.store.clone()).is_some_and(|before| before != renewed.store) {
                count = 0;
            }
            count += renewed.answer.count;
            after = renewed.answer.next;
            if after.is_none() {
                return Ok(FromStore { store: renewed.store, answer: count });
            }
        }
    }

    /// Lists the records whose keys begin with a prefix, in the order of the keys, after one of these.
    ///
    /// Records whose lease is over are among them as long as the broker keeps them.
    ///
    /// # Errors
    ///
    /// If the broker cannot be reached or does not answer, the prefix or the key is too long, or `limit` is zero or more than
    /// [`MAX_RECORD_PAGE`].
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FromStore<RecordPage>, RecordError> {
        check_key(prefix)?;
        check_key(after.unwrap_or_default())?;
        if limit == 0 || limit > MAX_RECORD_PAGE {
            return Err(RecordError::PageSize);
        }
        // What is before the prefix is before all that it matches.
        let after = after.filter(|after| *after >= prefix);
        self.broker.records().list(prefix, after, limit).await
    }

    async fn write(&self, key: &str, when: When<'_>, then: Then<'_>) -> Result<FromStore<RecordOutcome>, RecordError> {
        check_key(key)?;
        if let When::HeldBy(fence) = when {
            check_holder(fence.holder)?;
        }
        if let Then::Set { holder, value, terms } = then {
            check_holder(holder)?;
            if value.len() > MAX_RECORD_VALUE_BYTES {
                return Err(RecordError::ValueTooLong);
            }
            check_time(terms.lease)?;
            check_time(terms.keep)?;
        }
        self.broker.records().write(Write { key, when, then }).await
    }
}

fn check_key(key: &str) -> Result<(), RecordError> {
    if key.len() > MAX_RECORD_KEY_BYTES { Err(RecordError::KeyTooLong) } else { Ok(()) }
}

fn check_holder(holder: &str) -> Result<(), RecordError> {
    if holder.len() > MAX_RECORD_HOLDER_BYTES { Err(RecordError::HolderTooLong) } else { Ok(()) }
}

fn check_time(time: Duration) -> Result<(), RecordError> {
    if time > MAX_RECORD_TIME { Err(RecordError::TimeTooLong) } else { Ok(()) }
}

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
