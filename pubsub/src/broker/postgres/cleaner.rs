//! What need not be kept is deleted, by one node: the one that has the lease, on a connection of its own.
//!
//! Whatever fails here fails no event: it is logged, and tried again.

use std::{convert::Infallible, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::Config;

use super::{
    connection::{Connected, Failure, Parameters},
    session::Session,
    statements::Cleaning,
};

/// How often it is looked for what need not be kept. Each time writes a version of the row of each stream that lost something,
/// which an open snapshot keeps.
const ROUND: Duration = Duration::from_secs(3);
/// How long it rests after a failure.
const REST: Duration = Duration::from_secs(5);
/// How long the lease lasts. It is renewed with each round that begins.
const LEASE: Duration = Duration::from_secs(10);
/// How long everything is kept, so that every node can read it.
const GRACE: Duration = Duration::from_secs(10);
/// How long a stream is kept that nobody uses.
const UNUSED: Duration = Duration::from_secs(2 * 24 * 3600);
/// How many streams are locked at once: what is published to them waits for so long.
const AT_ONCE: usize = 16;
/// How many records are deleted at once.
const RECORDS_AT_ONCE: i64 = 1000;

/// Cleans as long as the session lasts.
pub(super) async fn clean(session: &Session, config: &Config) -> Infallible {
    let mut at_once = AT_ONCE;
    loop {
        sleep(ROUND).await;
        if let Err(failure) = clean_while_leading(session, config, at_once).await {
            tracing::warn!("postgres cleaner failed, tried again in {REST:?}: {failure}");
            // Perhaps it was too much at once.
            at_once = 1;
            sleep(REST).await;
        }
    }
}

async fn clean_while_leading(session: &Session, config: &Config, at_once: usize) -> Result<(), Failure> {
    let Some(cleaned) = session.leads(0, LEASE).await? else { return Ok(()) };
    // Whoever looks at the server's connections knows it by its name.
    let mut config = config.clone();
    config.application_name(format!("{} cleaner", config.get_application_name().unwrap_or_default()));
    let mut driver = JoinSet::new();
    let connected = Connected::to(&config, &mut driver, None).await?;
    connected.settle_to_clean().await?;
    let statements = Cleaning::prepare(&connected).await?;
    let mut cleaner = Cleaner { connected, statements, cleaned, after: Vec::new(), at_once };
    loop {
        cleaner.clean_once().await?;
        sleep(ROUND).await;
        if session.leads(cleaner.cleaned, LEASE).await?.is_none() {
            return Ok(());
        }
    }
}

struct Cleaner {
    connected: Connected,
    statements: Cleaning,
    /// The last entry that need not be looked at again.
    cleaned: i64,
    /// The last stream that was looked at although nothing was published.
    after: Vec<u8>,
    at_once: usize,
}

impl Cleaner {
    async fn clean_once(&mut self) -> Result<(), Failure> {
        while self.clean_next().await? {}
        self.clean_idle().await?;
        self.clean_records().await
    }

    /// Looks at the streams of the next entries that are old enough; whether there are more.
    async fn clean_next(&mut self) -> Result<bool, Failure> {
        let rows = self.connected.ask(&self.statements.due, &[&self.cleaned, &GRACE.as_secs_f64()]).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let Some(upto) = row.get::<_, Option<i64>>("upto") else { return Ok(false) };
        self.trim(row.get("names")).await?;
        self.connected.ask(&self.statements.notices, &[&self.cleaned, &upto]).await?;
        self.cleaned = upto;
        Ok(row.get("more"))
    }

    /// Looks at the next streams by name, whatever was published.
    async fn clean_idle(&mut self) -> Result<(), Failure> {
        let parameters: Parameters<'_> = &[&self.after, &GRACE.as_secs_f64(), &UNUSED.as_secs_f64()];
        let rows = self.connected.ask(&self.statements.idle, parameters).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        self.trim(row.get("names")).await?;
        self.after = row.get::<_, Option<_>>("last").unwrap_or_default();
        Ok(())
    }

    async fn clean_records(&self) -> Result<(), Failure> {
        while self.connected.ask(&self.statements.records, &[&RECORDS_AT_ONCE]).await?.len() as i64 == RECORDS_AT_ONCE {
        }
        Ok(())
    }

    async fn trim(&self, names: Option<Vec<&[u8]>>) -> Result<(), Failure> {
        for names in names.unwrap_or_default().chunks(self.at_once) {
            let parameters: Parameters<'_> = &[&names, &GRACE.as_secs_f64(), &UNUSED.as_secs_f64()];
            while self.connected.ask(&self.statements.trim, parameters).await?.iter().any(|row| row.get(0)) {}
        }
        Ok(())
    }
}
