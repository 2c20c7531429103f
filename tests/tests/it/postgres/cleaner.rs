//! What deletes the events that need not be kept, and what holds it up.

use std::time::Duration;

use catamaran_tests::backends::postgres::Server as Backend;
use tokio_postgres::Client;

use super::{Log, Node, Tick, texts};
use crate::support::within;

/// Trims all streams, and gives how many entries of the index of places that took, also of rows that are deleted.
async fn trim(admin: &Client) -> i64 {
    let read = async || {
        let sql = "select pg_stat_get_xact_tuples_returned('catamaran.places_pkey'::regclass)";
        admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    admin.batch_execute("begin; set local enable_seqscan = off").await.unwrap();
    // It counts what is not reported yet, which may be of more than this transaction.
    let before = read().await;
    let all = "(select array_agg(name) from catamaran.streams)";
    let sql = format!("select catamaran.trim({all}, interval '0', interval '1 day')");
    admin.query(&sql, &[]).await.unwrap();
    let after = read().await;
    admin.batch_execute("commit").await.unwrap();
    after - before
}

#[tokio::test]
async fn open_snapshot_does_not_slow_the_cleaner() {
    let backend = Backend::start();
    let here = Node::of(&backend).await;
    let (admin, reader) = (backend.client().await, backend.client().await);
    // Nobody else cleans.
    admin.execute("update catamaran.server set cleaner = 1, until = 'infinity'", &[]).await.unwrap();
    // What is deleted from now on stays in the tables.
    reader.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    for n in 0..300 {
        here.publish(&Tick { id: 7 }, &n.to_string()).await;
        here.publish(&Log { id: 7 }, &n.to_string()).await;
        here.publish(&Log { id: 8 }, &n.to_string()).await;
    }
    // A stream with a new epoch has to delete all of the former.
    admin.query("select catamaran.attach(1, 'log:8', null, null, 0, 'fresh')", &[]).await.unwrap();
    assert!(trim(&admin).await > 600);
    here.publish(&Tick { id: 7 }, "last").await;
    // That one, and the first that `log:7` keeps, each a few times.
    let read = trim(&admin).await;
    assert!(read < 50, "{read} entries of the index were read");
    reader.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn failing_cleaner_leaves_the_bus_up() {
    let backend = Backend::start();
    let admin = backend.client().await;
    let here = Node::of(&backend).await;
    let mut ada = here.subscribe(7).await;
    let connections = async || {
        let sql = "select array_agg(pid order by pid) from pg_stat_activity where application_name = 'catamaran'";
        admin.query_one(sql, &[]).await.unwrap().get::<_, Vec<i32>>(0)
    };
    let before = connections().await;
    // A sequence does not forget what is rolled back.
    let broken = "create sequence tried; grant all on sequence tried to public;
        alter function catamaran.trim rename to trim_well;
        create function catamaran.trim(names bytea[], grace interval, unused interval) returns boolean
        language plpgsql as $$ begin perform nextval('public.tried'); raise 'out of order'; end $$";
    admin.batch_execute(broken).await.unwrap();
    here.publish(&Tick { id: 7 }, "tick").await;
    admin.execute("update catamaran.entries set at = at - interval '1 minute'", &[]).await.unwrap();
    within("an attempt", async {
        while !admin.query_one("select is_called from tried", &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // The answer to this came after that to the attempt, had both been asked on one connection.
    here.publish(&Log { id: 7 }, "heard").await;
    assert_eq!(texts(&mut ada, 1).await, ["heard"]);
    assert_eq!(connections().await, before);
    let mended = "drop function catamaran.trim; alter function catamaran.trim_well rename to trim";
    admin.batch_execute(mended).await.unwrap();
    let count = "select count(*) from catamaran.entries where streams = array['tick:7'::bytea]";
    let cleaned = async {
        while admin.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), cleaned).await.expect("another attempt");
    assert_eq!(connections().await, before);
}
