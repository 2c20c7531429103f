//! What the engine counts, by the `metrics` facade.

use ::metrics::{Unit, counter, describe_counter};

/// Counter: the subscriptions of clients that came back and missed nothing.
pub const RESUMED: &str = "catamaran_subscriptions_resumed_total";

/// Counter: the times that a client was told that it may have missed events of a channel.
pub const GAPS: &str = "catamaran_gaps_total";

/// Says what each metric means to the recorder that is installed.
pub fn describe() {
    describe_counter!(RESUMED, Unit::Count, "Subscriptions of clients that came back and missed nothing");
    describe_counter!(GAPS, Unit::Count, "Times that a client was told that it may have missed events");
}

pub(crate) fn resumed() {
    counter!(RESUMED).increment(1);
}

pub(crate) fn gap() {
    counter!(GAPS).increment(1);
}
