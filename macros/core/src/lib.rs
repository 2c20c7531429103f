//! Code that the macro crates of [catamaran](https://docs.rs/catamaran) share, because a macro crate exports macros only.
//!
//! Applications do not depend on it, and it promises no stability.

mod errors;
pub mod events;
pub mod path;
pub mod tokens;

pub use errors::Errors;
