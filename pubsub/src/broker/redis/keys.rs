//! What things are called in Redis: all in one slot of a cluster, since the names share one hash tag.

/// The names of one application.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// With the braces around what decides the slot.
    tag: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { tag: format!("{{{prefix}}}") }
    }

    pub(super) fn meta(&self, stream: &str) -> String {
        format!("{}:meta:{stream}", self.tag)
    }

    pub(super) fn history(&self, stream: &str) -> String {
        format!("{}:history:{stream}", self.tag)
    }

    /// The channel that entries of a stream are sent on.
    pub(super) fn channel(&self, stream: &str) -> String {
        format!("{}:stream:{stream}", self.tag)
    }

    /// The stream of a channel.
    pub(super) fn stream<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&self.tag)?.strip_prefix(":stream:")
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_that_of_its_stream_whatever_its_name() {
        let keys = Keys::new("shop");
        assert_eq!(keys.channel("room:7"), "{shop}:stream:room:7");
        for stream in ["room:7", "", "{other}:stream:x"] {
            assert_eq!(keys.stream(&keys.channel(stream)), Some(stream));
        }
        assert_eq!(keys.stream(&Keys::new("other").channel("room:7")), None);
    }
}
