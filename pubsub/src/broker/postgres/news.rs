//! What is new in the tables: what transactions wrote that a snapshot before did not see.
//!
//! A number that is taken before its transaction commits says nothing of what a reader has missed. A snapshot does: it
//! sees all transactions before its end but those that were running, and these are asked for by their ids.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use tokio_postgres::Row;

use super::{
    super::encoding::decode,
    connection::Failure,
    link::{Link, unsigned},
    session::Session,
};
use crate::{Copy, Entry, Position};

/// The most bytes of events that are fetched at once, unless a single one has more.
const MAX_FETCHED: i64 = 4 * 1024 * 1024;

/// Which transactions were over when it was taken.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The first that had not begun.
    pub(super) next: i64,
    /// Those before it that were running.
    pub(super) running: Vec<i64>,
}

impl Snapshot {
    /// From what the server writes: `xmin:xmax:running,running`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':').skip(1);
        let next = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok());
        Some(Self { next, running: running.collect::<Option<_>>()? })
    }
}

/// Brings what is new for as long as the session lasts.
pub(super) async fn follow(session: &Session, link: &Link, seen: &mut Snapshot) -> Result<Infallible, Failure> {
    loop {
        session.woken().await;
        let rows = session.news(seen).await?;
        let Some(now) = rows.first().and_then(|row| Snapshot::parse(row.get("seen"))) else { continue };
        *seen = now;
        bring(session, link, &rows).await?;
    }
}

/// Fetches and brings what this node wants of the news.
async fn bring(session: &Session, link: &Link, rows: &[Row]) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let Some(id) = row.get::<_, Option<i64>>("id") else { continue };
        let own = row.get::<_, i64>("node") == session.node();
        let names: Vec<&[u8]> = row.get("streams");
        let streams: Vec<_> = names.iter().filter_map(|name| link.wanted(name)).collect();
        match row.get::<_, Option<i32>>("bytes") {
            None if !own => streams.iter().for_each(|stream| link.bring(session, |flow| flow.lost(stream))),
            None => {}
            Some(_) if own && !session.came(id) => {}
            Some(more) if !streams.is_empty() => {
                wanted.push((id, positions(row), streams));
                bytes += i64::from(more);
                if bytes > MAX_FETCHED {
                    fetch(session, link, std::mem::take(&mut wanted)).await?;
                    bytes = 0;
                }
            }
            Some(_) => {}
        }
    }
    fetch(session, link, wanted).await
}

/// Entries by their ids, each with its positions and the streams that this node wants.
type Wanted = Vec<(i64, Vec<Position>, Vec<Arc<str>>)>;

async fn fetch(session: &Session, link: &Link, wanted: Wanted) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = wanted.iter().map(|(id, ..)| *id).collect();
    let rows = session.bodies(&ids).await?;
    let mut bodies: HashMap<i64, &[u8]> = rows.iter().map(|row| (row.get("id"), row.get("body"))).collect();
    let mut copies = Vec::new();
    let mut lost = Vec::new();
    for (id, positions, streams) in wanted {
        match bodies.remove(&id).and_then(|body| entry(body, positions)) {
            Some(entry) => copies.extend(places(&Arc::new(entry), &streams)),
            None => lost.extend(streams),
        }
    }
    // Ids are in the order in which transactions began, which is not that in which they counted.
    copies.sort_by_key(Copy::offset);
    link.bring(session, |flow| {
        copies.into_iter().for_each(|copy| flow.entry(copy));
        lost.iter().for_each(|stream| flow.lost(stream));
    });
    Ok(())
}

/// The copies of an entry in some streams.
fn places(entry: &Arc<Entry>, streams: &[Arc<str>]) -> Vec<Copy> {
    let places = entry.places.iter().enumerate().filter(|(_, place)| streams.contains(&place.target.stream));
    places.map(|(place, _)| Copy::of(entry.clone(), place)).collect()
}

/// An entry from its body; none if no node of this version wrote it.
pub(super) fn entry(body: &[u8], positions: Vec<Position>) -> Option<Entry> {
    decode(std::str::from_utf8(body).ok()?, positions).ok()
}

/// The positions of an entry, in the order of its places.
pub(super) fn positions(row: &Row) -> Vec<Position> {
    let (epochs, offsets): (Vec<&str>, Vec<i64>) = (row.get("epochs"), row.get("offsets"));
    let positions = epochs.into_iter().zip(offsets);
    positions.map(|(epoch, offset)| Position { epoch: epoch.into(), offset: unsigned(offset) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_the_server_writes_it() {
        for (text, next, running) in [("10:10:", 10, vec![]), ("10:15:10,12", 15, vec![10, 12])] {
            let snapshot = Snapshot::parse(text).unwrap();
            assert_eq!((snapshot.next, snapshot.running), (next, running));
        }
        for text in ["", "10", "10:x:", "10:15:a"] {
            assert!(Snapshot::parse(text).is_none(), "{text}");
        }
    }
}
