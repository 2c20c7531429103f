//! The broker over Postgres: tables that count and keep what is published, and a notification that wakes whoever reads them.
//!
//! A node writes on one connection and reads on another ([`connection`], [`session`]); whenever either is lost, both are
//! made anew ([`link`]). What is new is found by the transactions that a reader has not seen yet ([`news`]).

mod batch;
mod cleaner;
mod connection;
mod link;
mod news;
mod records;
mod session;
mod statements;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use link::Link;
use tokio::task::JoinSet;
use tokio_postgres::{Config, config::SslMode};

use super::{Attached, Backend, Broker, Down, Read, RecordStore, Sent};
use crate::{BrokerEvents, Node, Position, PublishedEvent};

/// How long a stream stays attached that nobody needs.
const LINGER: Duration = Duration::from_secs(10);

/// A Postgres server that joins the servers of an application, for `App::broker`. With the feature
/// `postgres`.
///
/// # What it needs
///
/// Postgres 13 or later, the one that writes: a read-only replica counts as a server that cannot be reached, and of several
/// hosts in a URL, `target_session_attrs=read-write` finds the right one. Each server of the application has two connections,
/// and one of them has a third, named `catamaran cleaner`. They must be direct, or through a pooler in session mode, because one
/// of them listens to notifications. They are not encrypted: across a network that is not yours, let them pass a tunnel;
/// `sslmode=require` is refused.
///
/// The first server that connects makes the schema `catamaran` in the database. Two applications need two databases. A
/// role that may not make it needs that somebody runs [`Postgres::SCHEMA`] before, and then
///
/// ```sql
/// grant usage on schema catamaran to me;
/// grant select, insert, update, delete on all tables in schema catamaran to me;
/// ```
///
/// # Updates
///
/// The tables have a version. The first server of a later version upgrades them in one transaction that keeps all events; a role
/// that may not needs the script and the grants above once more. Servers of the version before then count as cut off, and log it,
/// until they are updated: they deliver to their own sockets. A server never changes tables of a later version than its own. An open
/// transaction that has read the tables, such as a dump, holds up an upgrade; it is tried again every second.
///
/// # What it keeps
///
/// The tables are unlogged: they are not written to the log of transactions, so that publishing waits for no disk, and
/// they are in no replica. Every event is kept for ten seconds, and beyond that what the history of its channel says. One
/// of the servers deletes the rest, within some seconds of the time. If that fails, the server logs `postgres cleaner failed` and tries
/// again, and events go on. A stream without an event or a new subscriber for two days is forgotten; whoever is
/// subscribed to it hears of a gap with its next event.
///
/// Keyed records ([`Records`](crate::Records)) are rows of an unlogged table. The same server deletes them some seconds after they are gone.
///
/// Nothing outlives the Postgres server: when it is started again, or a replica takes over, histories are empty, and every
/// client that comes back hears of a gap, also in channels where nothing happened.
///
/// # When it cannot be reached
///
/// Each server then delivers to its own sockets, without positions, and looks for the database at least every second
/// (`App::broker`). That begins when a connection ends, or the database has not answered for three seconds.
/// Once it is back, everybody hears of a gap wherever something was published meanwhile, and nowhere else.
///
/// A server that was paused for more than five seconds, or could not look for news for as long, counts as cut off, even if its
/// connections are still open. It asks whom others have closed before it delivers anything.
///
/// # What it costs the database
///
/// Events that are published at the same time share a transaction, up to 64 of them. Each transaction uses a transaction id, also
/// in unlogged tables: 1,000 a second use up `autovacuum_freeze_max_age` (200 million) in two days and a half, and Postgres then
/// reads every table of the database server to freeze its rows. Raise the setting, up to two billion, if that is too often.
///
/// A transaction that stays open, a backup, or a dump of the database does not hold up events. As long as it does, what was deleted
/// takes space. Autovacuum reclaims that afterwards, so it must be on.
pub struct Postgres {
    url: String,
}

impl Postgres {
    /// What makes the tables and functions, which a server of the application does by itself if its role may.
    pub const SCHEMA: &str = include_str!("schema.sql");

    /// The database with this URL. Nothing is connected before the application starts; a URL that makes no sense is refused
    /// there.
    pub fn connect(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    fn config(&self) -> Result<Config, String> {
        // What the parser says may quote a part of the password.
        let config = Config::from_str(&self.url).ok().filter(|config| !config.get_hosts().is_empty());
        let mut config = config
            .ok_or("`broker` must be a URL of Postgres, such as `postgres://user:password@localhost/database`")?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err("`broker` must be a URL without `sslmode=require`: there is no TLS here, so let the connection pass a tunnel".into());
        }
        if config.get_application_name().is_none() {
            config.application_name("catamaran");
        }
        Ok(config)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl From<Postgres> for Backend {
    fn from(postgres: Postgres) -> Self {
        Self(Box::new(move |flow| Ok(Arc::new(Tables::new(postgres.config()?, flow)))))
    }
}

/// One node's way to the tables.
#[derive(Debug)]
struct Tables {
    link: Arc<Link>,
    /// Ends the connections with this value.
    _task: JoinSet<()>,
}

impl Tables {
    fn new(config: Config, flow: BrokerEvents) -> Self {
        let link = Arc::new(Link::new(config, flow));
        let mut task = JoinSet::new();
        task.spawn(link.clone().run());
        Self { link, _task: task }
    }
}

impl Broker for Tables {
    fn attach<'a>(
        &'a self,
        stream: &'a Arc<str>,
        known: Option<Position>,
        turn: bool,
    ) -> BoxFuture<'a, Result<Attached, Down>> {
        Box::pin(self.link.attach(stream, known, turn))
    }

    fn read<'a>(&'a self, stream: &'a Arc<str>, after: &'a Position) -> BoxFuture<'a, Read> {
        Box::pin(async { self.link.read(stream, after).await.unwrap_or(Read::Down) })
    }

    fn publish(&self, entry: PublishedEvent) -> BoxFuture<'_, Sent> {
        Box::pin(self.link.publish(entry))
    }

    fn detach(&self, stream: &Arc<str>) {
        self.link.detach(stream);
    }

    fn others(&self) -> BoxFuture<'_, Result<Vec<Node>, Down>> {
        Box::pin(self.link.others())
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.link.leave())
    }

    fn linger(&self) -> Option<Duration> {
        Some(LINGER)
    }

    fn records(&self) -> &dyn RecordStore {
        &*self.link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_makes_no_sense_is_refused_without_its_password() {
        for url in [
            "",
            "localhost",
            "redis://localhost",
            "postgres://me:hunter@localhost:port/app",
            "postgres://me:hunter@/app",
            "postgres://me@localhost/app?hunter=2",
        ] {
            let error = Postgres::connect(url).config().unwrap_err();
            assert!(error.starts_with("`broker` must be a URL of Postgres"), "{url}: {error}");
            assert!(!error.contains("hunter"), "{url}: {error}");
        }
        let error = Postgres::connect("postgres://me@localhost/app?sslmode=require").config().unwrap_err();
        assert!(error.contains("sslmode=require"), "{error}");
        for url in ["postgres://me:pass@localhost:5433/app", "host=/run/postgresql user=me"] {
            assert!(Postgres::connect(url).config().is_ok(), "{url}");
        }
    }
}
