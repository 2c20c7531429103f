//! What need not be kept is deleted, by one node: the one that has the lock, until its connection ends.

use std::{convert::Infallible, time::Duration};

use tokio::time::sleep;

use super::{connection::Failure, session::Session};

/// How often it is looked for what need not be kept.
const ROUND: Duration = Duration::from_secs(1);
/// How long everything is kept, so that every node can read it.
const GRACE: Duration = Duration::from_secs(10);
/// How long a stream is kept that nobody uses.
const UNUSED: Duration = Duration::from_secs(2 * 24 * 3600);
/// How many streams are locked at once: what is published to them waits for so long.
const AT_ONCE: usize = 16;

/// Cleans as long as the session lasts.
pub(super) async fn clean(session: &Session) -> Result<Infallible, Failure> {
    let mut leads = false;
    let mut after = Vec::new();
    loop {
        sleep(ROUND).await;
        leads = leads || session.leads().await?;
        if leads {
            while clean_next(session).await? {}
            after = clean_idle(session, &after).await?;
        }
    }
}

/// Looks at the streams of the next entries that are old enough; whether there are more.
async fn clean_next(session: &Session) -> Result<bool, Failure> {
    let rows = session.clean(&session.statements.due, &[&GRACE.as_secs_f64()]).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let Some(upto) = row.get::<_, Option<i64>>("upto") else { return Ok(false) };
    trim(session, row.get("names")).await?;
    session.clean(&session.statements.cleaned, &[&upto]).await?;
    Ok(row.get("more"))
}

/// Looks at the next streams after a name, whatever was published; the name that it came to.
async fn clean_idle(session: &Session, after: &[u8]) -> Result<Vec<u8>, Failure> {
    let (grace, unused) = (GRACE.as_secs_f64(), UNUSED.as_secs_f64());
    let rows = session.clean(&session.statements.idle, &[&after, &grace, &unused]).await?;
    let Some(row) = rows.first() else { return Ok(Vec::new()) };
    trim(session, row.get("names")).await?;
    Ok(row.get::<_, Option<_>>("last").unwrap_or_default())
}

async fn trim(session: &Session, names: Option<Vec<&[u8]>>) -> Result<(), Failure> {
    for names in names.unwrap_or_default().chunks(AT_ONCE) {
        let (grace, unused) = (GRACE.as_secs_f64(), UNUSED.as_secs_f64());
        session.clean(&session.statements.trim, &[&names, &grace, &unused]).await?;
    }
    Ok(())
}
