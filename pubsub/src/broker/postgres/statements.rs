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
    pub(super) leave: Statement,
    pub(super) lead: Statement,
    pub(super) record_write: Statement,
    pub(super) record_renew: Statement,
    pub(super) record_list: Statement,
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statements").finish_non_exhaustive()
    }
}

impl Statements {
    pub(super) async fn prepare(write: &Connected, read: &Connected) -> Result<Self, Failure> {
        Ok(Self {
            publish: write.prepare("select * from catamaran.publish($1, $2, $3, $4, $5, $6, $7, $8, $9)").await?,
            attach: write.prepare("select * from catamaran.attach($1, $2, $3, $4, $5, $6)").await?,
            entries: read.prepare(ENTRIES).await?,
            news: read.prepare(NEWS).await?,
            bodies: read.prepare(BODIES).await?,
            others: read.prepare(OTHERS).await?,
            beat: write.prepare("select seen from catamaran.beat($1, $2::float8 * interval '1 s')").await?,
            leave: write.prepare("delete from catamaran.nodes where id = $1").await?,
            lead: write.prepare("select cleaned from catamaran.lead($1, $2, $3::float8 * interval '1 s')").await?,
            record_write: write
                .prepare("select * from catamaran.write_record($1, $2, $3, $4, $5, $6, $7, $8, $9)")
                .await?,
            record_renew: write.prepare("select * from catamaran.renew_records($1, $2, $3, $4)").await?,
            record_list: write.prepare(RECORD_LIST).await?,
        })
    }
}

/// The statements of the cleaner.
pub(super) struct Cleaning {
    pub(super) due: Statement,
    pub(super) idle: Statement,
    pub(super) trim: Statement,
    pub(super) notices: Statement,
    pub(super) records: Statement,
}

impl Cleaning {
    pub(super) async fn prepare(connected: &Connected) -> Result<Self, Failure> {
        Ok(Self {
            due: connected.prepare("select * from catamaran.due($1, $2::float8 * interval '1 s')").await?,
            idle: connected.prepare(IDLE).await?,
            trim: connected.prepare(TRIM).await?,
            notices: connected.prepare(NOTICES).await?,
            records: connected.prepare(RECORDS).await?,
        })
    }
}

/// What a stream has kept after an offset; no row if that is less than all, or the epoch is another.
const ENTRIES: &str = r#"
    select p."offset", e.epochs, e.offsets, e.body
    from catamaran.streams s
    left join catamaran.places p on p.stream = s.name and p.epoch = s.epoch and p."offset" > $3
    left join catamaran.entries e on e.id = p.entry and e.number = p.number
    where s.name = $1 and s.epoch = $2 and s.floor <= $3
    order by p."offset""#;

/// What a snapshot did not see, and the snapshot that this one is. Small bodies of other nodes come with it.
const NEWS: &str = "
    select one.*, e.*
    from (select pg_current_snapshot()::text as seen, extract(epoch from clock_timestamp())::float8 as at) one
    left join (
        select id, number, node, streams, epochs, offsets, octet_length(body) as bytes,
            case when octet_length(body) <= $3 and node <> $4 then body end as body
        from catamaran.entries where id >= $1
        union all
        select id, number, node, streams, epochs, offsets, octet_length(body),
            case when octet_length(body) <= $3 and node <> $4 then body end
        from catamaran.entries where id = any ($2) and id < $1
    ) e on true";

const BODIES: &str = "
    select e.id, e.number, e.body
    from unnest($1::bigint[], $2::integer[]) wanted (id, number) join catamaran.entries e using (id, number)";

const OTHERS: &str = "
    with gone as (delete from catamaran.nodes where seen < clock_timestamp() - $2::float8 * interval '1 s')
    select id from catamaran.nodes where id <> $1 and seen >= clock_timestamp() - $2::float8 * interval '1 s'";

const IDLE: &str = "select * from catamaran.idle($1, $2::float8 * interval '1 s', $3::float8 * interval '1 s')";

const TRIM: &str = "select catamaran.trim($1, $2::float8 * interval '1 s', $3::float8 * interval '1 s')";

/// Deletes what said that streams have new epochs.
const NOTICES: &str = "delete from catamaran.entries where id > $1 and id <= $2 and body is null";

/// Some records in a range of keys, and the store; a row without a key if there is none.
const RECORD_LIST: &str = "
    select one.store, r.*
    from (select catamaran.record_store() as store) one
    left join (
        select k.key, k.holder, k.value, k.epoch, catamaran.lease_left(k.until, clock_timestamp()) as lease_left
        from catamaran.records k
        where k.key >= $1 and k.key < $2 and k.gone > clock_timestamp() order by k.key limit $3
    ) r on true
    order by r.key";

/// Deletes some records that are gone, but none that somebody claims.
const RECORDS: &str = "
    delete from catamaran.records where key in (
        select k.key from catamaran.records k where k.gone <= now() order by k.gone limit $1 for update skip locked
    )
    returning 1";
