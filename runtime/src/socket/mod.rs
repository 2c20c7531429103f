//! The socket side.

/// The socket a request came over.
#[derive(Clone, Debug)]
pub struct RequestSocket {}
