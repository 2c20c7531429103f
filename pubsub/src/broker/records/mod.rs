//! Keyed records that the servers of an application share: each has a holder, a lease and an epoch.
//!
//! [`Records`] checks the limits and asks a [`store::RecordStore`], which each broker has.

#[cfg(all(test, feature = "postgres", feature = "redis"))]
mod model;
mod record;
#[cfg(all(test, feature = "postgres", feature = "redis"))]
mod shared;
pub(crate) mod store;
mod table;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use record::{
    FromStore, MAX_RECORD_HOLDER_BYTES, MAX_RECORD_KEY_BYTES, MAX_RECORD_PAGE, MAX_RECORD_TIME, MAX_RECORD_VALUE_BYTES,
    Record, RecordError, RecordFence, RecordOutcome, RecordPage, RecordTakeOver, RecordTerms,
};
use store::{Then, When, Write};
pub(crate) use table::Table;

use super::Broker;

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
