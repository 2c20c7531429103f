//! Everything that generated code may name beside the public types, and nothing else.

pub use serde::Serialize;

pub use crate::channels::{EncodeError, EncodedEvent, escape, message};
pub use crate::extract::ctx::{Declared, NoContext, Probe, agree, transports};
pub use crate::routing::action::{
    Call, Last, Param, Part, PartOf, Reply, call0, call1, call2, call3, call4, call5, call6, call7, call8, call9,
    call10, call11, call12, call13, call14, call15, call16, lift, rejected,
};
pub use crate::routing::controller::Guarded;
pub use crate::routing::{Clash, check, clash, flatten, guards, join, joined, settle, text, total};
pub use crate::{__join as join, __under as under};
