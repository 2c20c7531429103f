//! The names that an event of an application cannot have.

/// The names that Socket.IO and its clients of all versions, the catamaran client and the runtime raise or refuse themselves.
/// A listener would take a published event of such a name for theirs.
const RESERVED: &[(&str, &[&str])] = &[
    (
        "Socket.IO",
        &[
            "connect",
            "connect_error",
            "connect_timeout",
            "connecting",
            "disconnect",
            "disconnecting",
            "error",
            "newListener",
            "ping",
            "pong",
            "reconnect",
            "reconnect_attempt",
            "reconnect_error",
            "reconnect_failed",
            "reconnecting",
            "removeListener",
        ],
    ),
    ("the catamaran client", &["gap", "lost", "resubscribed", "state"]),
    ("the runtime", &["sails:parseError"]),
];

/// Lists the reserved names.
pub fn reserved() -> impl Iterator<Item = &'static str> {
    RESERVED.iter().flat_map(|(_, names)| *names).copied()
}

/// Returns who owns an event of this name, if it is reserved.
pub fn owner(name: &str) -> Option<&'static str> {
    if name.starts_with('$') {
        return Some("the runtime");
    }
    RESERVED.iter().find(|(_, names)| names.contains(&name)).map(|(owner, _)| *owner)
}
