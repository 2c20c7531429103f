//! What things are called in Redis: all in one slot of a cluster, since the names share one hash tag.

use std::fmt::{self, Display, Formatter};

use redis::{RedisWrite, ToRedisArgs};

/// The names of one application.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// With the braces around what decides the slot.
    tag: String,
}

/// The name of a key or of a channel, which is written where it is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    tag: &'a str,
    kind: &'static str,
    name: &'a str,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { tag: format!("{{{prefix}}}") }
    }

    pub(super) fn meta<'a>(&'a self, stream: &'a str) -> Key<'a> {
        Key { tag: &self.tag, kind: ":meta:", name: stream }
    }

    pub(super) fn history<'a>(&'a self, stream: &'a str) -> Key<'a> {
        Key { tag: &self.tag, kind: ":history:", name: stream }
    }

    /// The channel that entries of a stream are sent on.
    pub(super) fn channel<'a>(&'a self, stream: &'a str) -> Key<'a> {
        Key { tag: &self.tag, kind: ":stream:", name: stream }
    }

    /// The stream of a channel.
    pub(super) fn stream<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&self.tag)?.strip_prefix(":stream:")
    }

    pub(super) fn nodes(&self) -> Key<'_> {
        Key { tag: &self.tag, kind: ":nodes", name: "" }
    }

    /// How often no count could go on, since a server may have taken events with it.
    pub(super) fn generation(&self) -> Key<'_> {
        Key { tag: &self.tag, kind: ":generation", name: "" }
    }

    /// The records, their names, their names by holder, and when each is gone.
    pub(super) fn records(&self) -> [Key<'_>; 4] {
        [":records", ":records:names", ":records:held", ":records:ends"].map(|kind| Key {
            tag: &self.tag,
            kind,
            name: "",
        })
    }

    /// Is there for an hour after the end of a node that owes nobody anything.
    pub(super) fn left<'a>(&'a self, node: &'a str) -> Key<'a> {
        Key { tag: &self.tag, kind: ":left:", name: node }
    }
}

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        [self.tag, self.kind, self.name].into_iter().try_for_each(|part| f.write_str(part))
    }
}

impl ToRedisArgs for Key<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_that_of_its_stream_whatever_its_name() {
        let keys = Keys::new("shop");
        assert_eq!(keys.channel("room:7").to_string(), "{shop}:stream:room:7");
        for stream in ["room:7", "", "{other}:stream:x"] {
            assert_eq!(keys.stream(&keys.channel(stream).to_string()), Some(stream));
        }
        assert_eq!(keys.stream(&Keys::new("other").channel("room:7").to_string()), None);
    }
}
