//! A record, what is asked about it, and the limits.

use std::{fmt, sync::Arc, time::Duration};

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
