//! Resources as clients see them: the same tests on each database.
//!
//! `cargo test -p catamaran-resources` has SQLite in memory and in a file; with `--features backends` the tests start a
//! PostgreSQL server of their own.

#[cfg(feature = "backends")]
mod postgres;
#[macro_use]
mod world;
// SeaORM's names are public wherever the entity is.
#[allow(unreachable_pub)]
mod models;

mod associations;
mod compat;
mod criteria;
#[cfg(feature = "backends")]
mod deadlock;
#[allow(unreachable_pub)]
mod door;
#[allow(unreachable_pub)]
mod fields;
mod forms;
mod hostile;
mod keys;
mod limits;
mod many;
mod messages;
mod other;
mod outbox;
mod policies;
mod pools;
#[allow(unreachable_pub)]
mod presets;
mod races;
mod random;
mod records;
mod refusals;
mod resume;
mod socket;
mod sockets;
mod transactions;
#[cfg(feature = "backends")]
mod trigger_rights;
mod triggers;
mod viewers;
