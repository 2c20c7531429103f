//! What is done with records; it knows resources by their [`Meta`](crate::Meta) alone, so it is compiled once.

mod attempt;
mod change;
mod create;
mod destroy;
mod door;
mod members;
mod named;
mod observed;
mod populate;
mod queue;
mod shown;
pub(crate) mod sql;
mod stripes;
#[cfg(test)]
pub(crate) mod tests;
mod update;
mod view;
mod write;

pub(crate) use attempt::{Attempt, Ready, begin};
pub(crate) use change::Membership;
pub use change::{Change, Kind};
pub(crate) use named::named;
pub(crate) use observed::{changes_of_membership, changes_of_row};
pub(crate) use queue::Queue;
pub(crate) use shown::Shown;
pub(crate) use stripes::Stripes;
pub(crate) use view::{View, identity};
pub use write::Changes;
pub(crate) use write::{Members, Work, Writer, write};
