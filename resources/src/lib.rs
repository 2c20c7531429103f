#![doc = include_str!("../README.md")]

// The crate's own tests use the macro too, whose code names the crate.
#[cfg(test)]
extern crate self as catamaran_resources;

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!("choose a database: the feature `sqlite`, `postgres` or `mysql` of catamaran-resources");

mod actions;
mod asking;
mod body;
mod criteria;
mod engine;
mod error;
mod form;
mod input;
mod limits;
mod messages;
mod meta;
mod outbox;
mod policy;
mod records;
mod refusal;
mod resource;
mod state;
pub mod test;

pub use engine::{Change, Changes, Kind};
pub use limits::Limits;
pub use meta::{Meta, Row};
pub use outbox::Relay;
pub use policy::{Policy, Public, ReadOnly, Viewer, Write};
pub use records::{Record, Records, Transaction};
pub use resource::Resource;
pub use state::{Compat, Resources};

pub(crate) use error::Error;

#[doc = include_str!("docs/resource.md")]
pub use catamaran_resources_macros::resource;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
