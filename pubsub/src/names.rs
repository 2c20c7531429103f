//! The names of the streams that are not an application's.

/// What the names of the streams begin with that are not an application's.
pub const RESERVED: &str = "catamaran:";
/// What the names of the streams of filtered channels begin with.
pub const FILTERED: &str = "catamaran:gated:";
/// The streams of commands to all servers, of the closings among them, and what the names of those of answers begin with.
pub(crate) const COMMANDS: &str = "catamaran:commands";
pub(crate) const CLOSINGS: &str = "catamaran:closings";
pub(crate) const ANSWERS: &str = "catamaran:answers:";

/// Whether a stream is that of a channel behind filters.
pub(crate) fn is_behind_filters(stream: &str) -> bool {
    stream.starts_with(FILTERED)
}
