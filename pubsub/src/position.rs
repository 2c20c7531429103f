//! Where an entry stands in a stream.

use std::{hash::BuildHasher, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::environment::{self, RandomState};

/// A destination in a stream: after the entry `offset` of the count named `epoch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The name of the count. Positions of two counts cannot be compared.
    pub epoch: Arc<str>,
    /// The number of the entry in that count; the first is 1.
    pub offset: u64,
}

/// The name of a new count, which no other count shares: 48 random bits.
pub(crate) fn epoch() -> Arc<str> {
    epoch_of(environment::random().unwrap_or_else(|| RandomState::new().hash_one(0)))
}

/// The name of the count that this number stands for: 48 of its bits.
pub(crate) fn epoch_of(number: u64) -> Arc<str> {
    BASE64_URL_SAFE_NO_PAD.encode(&number.to_be_bytes()[..6]).into()
}
