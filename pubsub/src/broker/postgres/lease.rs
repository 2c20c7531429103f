//! How long the other nodes believe that this one lives.

use std::time::Duration;

use tokio::time::Instant;

/// How long others believe it after a sign of life. A node that was silent or deaf for longer has lost the broker, whatever its
/// connections say: others count on its absence.
pub(super) const BELIEVED: Duration = Duration::from_secs(5);

/// Until when others believe that this node lives: by its own clock, and by that of the server.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) here: Instant,
    pub(super) there: f64,
}

impl Lease {
    /// From a sign of life that was not sent before, and had this time on the server.
    pub(super) fn of(sent: Instant, seen: f64) -> Self {
        Self { here: sent + BELIEVED, there: seen + BELIEVED.as_secs_f64() }
    }
}
