//! Everything that generated code may name beside the public types, and nothing else.

pub use crate::action::{
    Param, call0, call1, call2, call3, call4, call5, call6, call7, call8, call9, call10, call11, call12, call13,
    call14, call15, call16,
};
pub use crate::ctx::{NoContext, Probe, reach};
