//! Where an entry stands in a stream.

use std::sync::Arc;

/// A destination in a stream: after the entry `offset` of the count named `epoch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The name of the count. Positions of two counts cannot be compared.
    pub epoch: Arc<str>,
    /// The number of the entry in that count; the first is 1.
    pub offset: u64,
}
