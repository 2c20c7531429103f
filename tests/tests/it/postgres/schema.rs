//! The tables of former versions.

use catamaran::Postgres;
use catamaran_tests::backends::postgres::Server as Backend;

use super::{BOB, Log, Node, event};
use crate::support::{Client, Packet, get};

/// As the first version made them.
const FIRST: &str = include_str!("../../../fixtures/postgres-schema-1.sql");

/// What a server of the first version counted: an event that is kept in `log:7`, and one of a former epoch of `log:8`. Each is a
/// transaction.
const COUNTED: [&str; 4] = [
    "select catamaran.enter(1)",
    r#"select catamaran.publish(1, array['log:7'::bytea], 'first', convert_to('{"node":1,"number":1,"event":"said",
        "data":["kept"],"to":[{"channel":"log:7","stream":"log:7","entries":1000,"bytes":100000,"age":null}],"at":1}',
        'UTF8'), array[1000], array[100000], array[3600000])"#,
    "select catamaran.publish(1, array['log:8'::bytea], 'first', '{}', array[1000], array[100000], array[3600000])",
    "select catamaran.attach(1, 'log:8', null, null, true, 'second')",
];

#[tokio::test]
async fn old_tables_are_upgraded_and_keep_their_events() {
    let backend = Backend::start();
    let admin = backend.client().await;
    admin.batch_execute(FIRST).await.unwrap();
    for statement in COUNTED {
        admin.batch_execute(statement).await.unwrap();
    }
    // They upgrade one after the other.
    let (here, there) = tokio::join!(Node::of(&backend), Node::of(&backend));
    let mut client = Client::resuming(&there.server, BOB).await;
    let answer = client.resume("/log/7", r#"{"log:7":["first",0]}"#).await;
    assert_eq!(answer.channels["log:7"][2], "recovered");
    assert_eq!(client.next().await, Packet::Event(r#"["$replay","log:7",[[1,"said","kept"]],false]"#.into()));
    assert_eq!(client.ask(&get("/log/8")).await.status, 200);
    here.publish(&Log { id: 7 }, "new").await;
    assert_eq!(client.next().await, event(2, "new"));
    // What a former epoch has left is deleted, too.
    let trim = "select catamaran.trim((select array_agg(name) from catamaran.streams), interval '0', interval '1 day')";
    admin.query(trim, &[]).await.unwrap();
    let former = "select count(*) from catamaran.places where epoch = 'first' and stream = 'log:8'";
    assert_eq!(admin.query_one(former, &[]).await.unwrap().get::<_, i64>(0), 0);
    // As whoever administers a database may do at any time.
    admin.batch_execute(Postgres::SCHEMA).await.unwrap();
    here.publish(&Log { id: 7 }, "newer").await;
    assert_eq!(client.next().await, event(3, "newer"));
}

#[tokio::test]
async fn old_server_is_told_that_the_tables_are_newer() {
    let backend = Backend::start();
    let _here = Node::of(&backend).await;
    let refused = backend.client().await.query("select catamaran.enter(1)", &[]).await.unwrap_err();
    let said = refused.as_db_error().expect("the server refuses").message();
    assert!(said.contains("older than the tables"), "{said}");
}

#[tokio::test]
async fn newer_tables_are_left_alone() {
    let backend = Backend::start();
    let admin = backend.client().await;
    admin.batch_execute(Postgres::SCHEMA).await.unwrap();
    let newer =
        "create or replace function catamaran.version() returns integer language sql immutable as 'select 1000'";
    admin.batch_execute(newer).await.unwrap();
    let node = Node::start(&backend).await;
    let published = node.hub.publish(&Log { id: 7 }, super::said("alone")).await.unwrap();
    assert_eq!(published, catamaran::PublishOutcome::LocalOnly);
    let version = admin.query_one("select catamaran.version()", &[]).await.unwrap();
    assert_eq!(version.get::<_, i32>(0), 1000);
    admin.batch_execute(Postgres::SCHEMA).await.unwrap();
    node.comes_up().await;
}
