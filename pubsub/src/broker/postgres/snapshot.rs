//! What a reader has seen of the tables.
//!
//! A number that is taken before its transaction commits says nothing of what a reader has missed. A snapshot does: it
//! sees all transactions before its end but those that were running, and these are asked for by their ids.

use tokio_postgres::Row;

use super::lease::BELIEVED;

/// Which transactions were over when it was taken.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The first that had not begun.
    pub(super) next: i64,
    /// Those before it that were running.
    pub(super) running: Vec<i64>,
    /// By the server's clock, in seconds.
    pub(super) at: f64,
}

impl Snapshot {
    /// From a row that says what it saw, and when.
    pub(super) fn of(row: &Row) -> Option<Self> {
        Self::parse(row.get("seen"), row.get("at"))
    }

    /// From what the server writes: `xmin:xmax:running,running`.
    fn parse(text: &str, at: f64) -> Option<Self> {
        let mut parts = text.splitn(3, ':').skip(1);
        let next = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok());
        Some(Self { next, running: running.collect::<Option<_>>()?, at })
    }

    /// Whether it is so much later than another that what was counted between may be deleted by now.
    pub(super) fn is_late_after(&self, before: &Self) -> bool {
        self.at - before.at > BELIEVED.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_the_server_writes_it() {
        for (text, next, running) in [("10:10:", 10, vec![]), ("10:15:10,12", 15, vec![10, 12])] {
            let snapshot = Snapshot::parse(text, 1.0).unwrap();
            assert_eq!((snapshot.next, snapshot.running), (next, running));
        }
        for text in ["", "10", "10:x:", "10:15:a"] {
            assert!(Snapshot::parse(text, 1.0).is_none(), "{text}");
        }
    }
}
