//! What is new in the tables: what transactions wrote that a snapshot before did not see.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_postgres::Row;

use super::{
    connection::Failure,
    link::Link,
    session::{Id, Session},
    snapshot::Snapshot,
    values::{entry, positions},
};
use crate::{Position, PublishedEvent, StreamEntry};

/// The most bytes of events that are fetched at once, unless a single one has more.
const MAX_FETCHED: i64 = 4 * 1024 * 1024;
/// The largest body that comes with the news, also to nodes that do not want it.
const SMALL: i32 = 1024;
/// After a longer pause there may be too much for bodies to come with the news.
const RECENT: Duration = Duration::from_secs(1);

/// Brings what is new for as long as the session lasts.
pub(super) async fn follow(session: &Session, link: &Link, seen: &mut Snapshot) -> Result<Infallible, Failure> {
    let mut looked = Instant::now();
    loop {
        session.woken().await;
        let small = if looked.elapsed() < RECENT { SMALL } else { 0 };
        looked = Instant::now();
        let rows = session.news(seen, small).await?;
        let Some(now) = rows.first().and_then(Snapshot::of) else { continue };
        if now.is_late_after(seen) || !session.was_believed(now.at) {
            return Err(Failure::Silent);
        }
        *seen = now;
        bring(session, link, &rows).await?;
        session.has_brought();
    }
}

/// Something new, and the streams in which this node wants it.
struct New {
    id: Id,
    positions: Vec<Position>,
    streams: Vec<Arc<str>>,
    /// None as long as its body was not fetched.
    entry: Option<PublishedEvent>,
}

/// Brings what this node wants of the news, in the order of the transactions: what began when another was over comes
/// after it. So nothing comes before a closing that had returned. Of entries of one stream a later one may come
/// first, if both were under way at once; the hub waits for the other.
async fn bring(session: &Session, link: &Link, rows: &[Row]) -> Result<(), Failure> {
    let mut rows: Vec<(Id, &Row)> =
        rows.iter().filter_map(|row| Some(((row.get::<_, Option<i64>>("id")?, row.get("number")), row))).collect();
    rows.sort_by_key(|(id, _)| *id);
    let mut news = Vec::new();
    let mut bytes = 0;
    for (id, row) in rows {
        let own = row.get::<_, i64>("node") == session.node();
        let names: Vec<&[u8]> = row.get("streams");
        let streams: Vec<_> = names.iter().filter_map(|name| link.wanted(name)).collect();
        match row.get::<_, Option<i32>>("bytes") {
            None if !own => streams.iter().for_each(|stream| link.bring(session, |flow| flow.lost(stream))),
            None => {}
            Some(_) if own && !session.came(id) => {}
            Some(_) if streams.is_empty() => {}
            Some(more) => {
                let positions = positions(row);
                let entry = match row.get::<_, Option<&[u8]>>("body") {
                    Some(body) => entry(body, positions.clone()),
                    None => {
                        bytes += i64::from(more);
                        None
                    }
                };
                news.push(New { id, positions, streams, entry });
                if bytes > MAX_FETCHED {
                    fetch(session, link, std::mem::take(&mut news)).await?;
                    bytes = 0;
                }
            }
        }
    }
    fetch(session, link, news).await
}

/// Fetches what did not come with the news, and brings all of it.
async fn fetch(session: &Session, link: &Link, news: Vec<New>) -> Result<(), Failure> {
    let missing: Vec<_> = news.iter().filter(|new| new.entry.is_none()).map(|new| new.id).collect();
    let rows = if missing.is_empty() { Vec::new() } else { session.bodies(&missing).await? };
    let mut bodies: HashMap<Id, &[u8]> =
        rows.iter().map(|row| ((row.get("id"), row.get("number")), row.get("body"))).collect();
    link.bring(session, |flow| {
        for New { id, positions, streams, entry: came } in news {
            let body = bodies.remove(&id);
            match came.or_else(|| entry(body?, positions)) {
                Some(entry) => destinations(&Arc::new(entry), &streams).into_iter().for_each(|copy| flow.entry(copy)),
                // It is deleted, or no node of this version wrote it.
                None => streams.iter().for_each(|stream| flow.lost(stream)),
            }
        }
    });
    Ok(())
}

/// The copies of an entry in some streams.
fn destinations(entry: &Arc<PublishedEvent>, streams: &[Arc<str>]) -> Vec<StreamEntry> {
    let destinations =
        entry.destinations.iter().enumerate().filter(|(_, destination)| streams.contains(&destination.target.stream));
    destinations.map(|(destination, _)| StreamEntry::of(entry.clone(), destination)).collect()
}
