//! What a session asks of the server.

use std::fmt;

use tokio_postgres::Statement;

use super::connection::{Connected, Failure};

/// The statements of a session, each prepared on its connection.
pub(super) struct Statements {
    pub(super) publish: Statement,
    pub(super) attach: Statement,
    pub(super) entries: Statement,
    pub(super) news: Statement,
    pub(super) bodies: Statement,
    pub(super) others: Statement,
    pub(super) beat: Statement,
    pub(super) notify: Statement,
    pub(super) lead: Statement,
    pub(super) due: Statement,
    pub(super) idle: Statement,
    pub(super) trim: Statement,
    pub(super) cleaned: Statement,
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statements").finish_non_exhaustive()
    }
}

impl Statements {
    pub(super) async fn prepare(write: &Connected, read: &Connected) -> Result<Self, Failure> {
        Ok(Self {
            publish: write.prepare("select * from catamaran.publish($1, $2, $3, $4, $5, $6, $7)").await?,
            attach: write.prepare("select * from catamaran.attach($1, $2, $3, $4, $5, $6)").await?,
            entries: read.prepare(ENTRIES).await?,
            news: read.prepare(NEWS).await?,
            bodies: read.prepare("select id, body from catamaran.entries where id = any ($1)").await?,
            others: read.prepare(OTHERS).await?,
            beat: write.prepare(BEAT).await?,
            notify: read.prepare("notify catamaran").await?,
            lead: write.prepare("select pg_try_advisory_lock(1667331169, 1)").await?,
            due: write.prepare("select * from catamaran.due($1::float8 * interval '1 s')").await?,
            idle: write.prepare(IDLE).await?,
            trim: write.prepare(TRIM).await?,
            cleaned: write.prepare("select catamaran.cleaned($1)").await?,
        })
    }
}

/// What a stream has kept after an offset; no row if that is less than all, or the epoch is another.
const ENTRIES: &str = r#"
    select p."offset", e.epochs, e.offsets, e.body
    from catamaran.streams s
    left join catamaran.places p on p.stream = s.name and p.epoch = s.epoch and p."offset" > $3
    left join catamaran.entries e on e.id = p.entry
    where s.name = $1 and s.epoch = $2 and s.floor <= $3
    order by p."offset""#;

/// What a snapshot did not see, and the snapshot that this one is.
const NEWS: &str = "
    select pg_current_snapshot()::text as seen, e.*
    from (select) one left join (
        select id, node, streams, epochs, offsets, octet_length(body) as bytes
        from catamaran.entries where id >= $1
        union all
        select id, node, streams, epochs, offsets, octet_length(body)
        from catamaran.entries where id = any ($2) and id < $1
    ) e on true";

const OTHERS: &str = "
    with gone as (delete from catamaran.nodes where seen < clock_timestamp() - $2::float8 * interval '1 s')
    select id from catamaran.nodes where id <> $1 and seen >= clock_timestamp() - $2::float8 * interval '1 s'";

const BEAT: &str = "
    insert into catamaran.nodes values ($1, clock_timestamp()) on conflict (id) do update set seen = excluded.seen";

const IDLE: &str = "select * from catamaran.idle($1, $2::float8 * interval '1 s', $3::float8 * interval '1 s')";

const TRIM: &str = "select catamaran.trim($1, $2::float8 * interval '1 s', $3::float8 * interval '1 s')";
