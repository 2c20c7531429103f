//! What requests may make the server do and keep.

/// Bounds what requests to resources may make the server do and keep.
///
/// Each is checked before the work that it bounds, and a request beyond it is refused with words that name the limit.
///
/// ```
/// use catamaran_resources::{Limits, Resources};
///
/// fn strict(resources: Resources) -> Resources {
///     let mut limits = Limits::default();
///     limits.records = 100;
///     limits.writes = 200;
///     resources.limits(limits)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest `limit` of a list, 1,000 by default: 400.
    pub records: u64,
    /// The records that an answer is populated with in all, 30,000 by default: 400.
    pub populated: u64,
    /// The bytes of a query, 32 KiB by default: 400.
    pub query_bytes: usize,
    /// The levels of a `where`, 8 by default: 400.
    pub depth: usize,
    /// The conditions of a `where`, and the attributes that are named beside one, 200 by default: 400.
    pub conditions: usize,
    /// The values in all lists of a `where`, 1,000 by default: 400.
    pub values: usize,
    /// The bytes of all patterns of a `where` (`contains`, `startsWith`, `endsWith`, `like`), 1,024 by default: 400.
    ///
    /// A database compares each record with each pattern, which takes a time that grows with the length of both.
    pub pattern_bytes: usize,
    /// The wildcards in all patterns of a `where`, 32 by default: 400. `contains` has two, `startsWith` and `endsWith` one.
    pub wildcards: usize,
    /// The records of one resource that a socket follows, 10,000 by default. With more it follows all that it may read.
    pub followed: usize,
    /// The bytes that the identities of these take, 1 MiB by default. With more the socket follows all that it may read.
    pub followed_bytes: usize,
    /// The writes of this process that wait or are under way, 1,024 by default: 503 with `retry-after`.
    pub writes: usize,
    /// The bytes of the bodies of these, 32 MiB by default: 503 with `retry-after`. What is read of a body takes some times
    /// as much.
    pub write_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            records: 1000,
            populated: 30_000,
            query_bytes: 32 * 1024,
            depth: 8,
            conditions: 200,
            values: 1000,
            pattern_bytes: 1024,
            wildcards: 32,
            followed: 10_000,
            followed_bytes: 1024 * 1024,
            writes: 1024,
            write_bytes: 32 * 1024 * 1024,
        }
    }
}
