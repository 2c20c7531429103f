//! What one socket is sent of a channel whose events not everybody may see alike.

#[cfg(test)]
mod tests;

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    entry::{Id, PublishedEvent},
    event::EncodedEvent,
};

/// Decides what one socket is sent of a channel, live and in replays alike.
///
/// It is asked under the lock of the channel's stream: it must not wait, nor publish. If it panics, its subscriber is sent a gap,
/// or disconnected if it knows no gaps or the filter panics as it is widened.
pub trait EventFilter: Any + fmt::Debug + Send + Sync {
    /// What the socket is sent of an event; none: nothing. It may be asked more than once for one event.
    fn pass(&self, event: &FilterInput<'_>) -> Option<Arc<EncodedEvent>>;

    /// Returns whether both filters judge for the same viewer. Only then may one request of a socket widen, extend or renew
    /// the subscription of another; by another viewer's it is replaced.
    fn same_viewer(&self, other: &dyn EventFilter) -> bool;

    /// Returns a number for the viewer: equal for equal viewers, on all servers of one build. The client gives it back with its
    /// position, which is good for that viewer alone. At most 53 bits, which a script keeps exactly.
    fn viewer(&self) -> u64;

    /// The socket subscribed again for the same viewer: from now on this one lets through what either would.
    fn widen(&self, by: &dyn EventFilter);
}

/// An event at a filter.
#[derive(Clone, Copy, Debug)]
pub struct FilterInput<'a> {
    /// The same for all filters, and for no other event.
    pub id: (u64, u64),
    /// What was published.
    pub message: &'a EncodedEvent,
    /// It was published before the request subscribed, whose client was away then.
    pub missed: bool,
}

impl<'a> FilterInput<'a> {
    pub(super) fn of(entry: &'a PublishedEvent, missed: bool) -> Self {
        let Id { node, number } = entry.id;
        Self { id: (node.0, number), message: &entry.message, missed }
    }
}

/// The application's code in a filter panicked, which was logged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panicked;

/// Asks a filter about an event. A panic must not end the shared task that delivers to everybody.
pub(super) fn pass(filter: &dyn EventFilter, event: &FilterInput<'_>) -> Result<Option<Arc<EncodedEvent>>, Panicked> {
    guard(|| filter.pass(event))
}

/// Widens a filter by another.
pub(super) fn widen(filter: &dyn EventFilter, by: &dyn EventFilter) -> Result<(), Panicked> {
    guard(|| filter.widen(by))
}

/// Asks a filter whether another is that of the same viewer.
pub(super) fn same_viewer(filter: &dyn EventFilter, other: &dyn EventFilter) -> bool {
    guard(|| filter.same_viewer(other)).unwrap_or(false)
}

/// Asks a filter for the number of its viewer; none if it panics.
pub(super) fn viewer(filter: &dyn EventFilter) -> Option<u64> {
    guard(|| filter.viewer()).ok()
}

/// Whether a subscription behind this filter may go on from what a client received for this viewer: what another viewer received
/// is another thing.
pub(super) fn is_for(filter: Option<&dyn EventFilter>, had: Option<u64>) -> bool {
    filter.is_none_or(|filter| had.is_some() && had == viewer(filter))
}

fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| {
        tracing::error!("channel filter panicked: its subscriber receives a gap, or is disconnected");
        Panicked
    })
}
