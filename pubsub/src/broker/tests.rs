//! What holds of the epochs of streams on the broker of tests, and on servers of Redis and Postgres that tests start.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{Backend, Broker, BrokerEvent, BrokerEvents, mock, servers};
use crate::{Postgres, Redis, entry::Node, position::Position};

const PATIENCE: Duration = Duration::from_secs(60);

/// One node's way to a server, once it is up.
async fn started(backend: Backend) -> Arc<dyn Broker> {
    let (up, mut is_up) = mpsc::unbounded_channel();
    let flow = BrokerEvents::new(Node(1), move |event| {
        if matches!(event, BrokerEvent::Up) {
            // The test may be over.
            let _ = up.send(());
        }
    });
    let broker = backend.start(flow).expect("its settings make sense");
    timeout(PATIENCE, is_up.recv()).await.expect("it comes up");
    broker
}

async fn turns_once_for_each_debt(broker: &dyn Broker) {
    let stream = "room:1".into();
    let attach = async |known: Option<&Position>, alone| {
        broker.attach(&stream, known.cloned(), alone).await.expect("it is up").top
    };
    let first = attach(None, None).await;
    assert_eq!(attach(Some(&first), None).await, first);
    let second = attach(Some(&first), Some(Duration::MAX)).await;
    assert_ne!(second.epoch, first.epoch);
    // What was delivered before the new epoch began was told by it.
    assert_eq!(attach(Some(&first), Some(Duration::from_secs(3600))).await, second);
    assert_eq!(attach(Some(&first), Some(Duration::MAX)).await, second);
    let third = attach(Some(&first), Some(Duration::ZERO)).await;
    assert_ne!(third.epoch, second.epoch);
    assert_eq!(attach(Some(&first), None).await, third);
}

#[tokio::test]
async fn mock_turns_once_for_each_debt() {
    let backend = mock::Backend::default();
    let broker = backend.connect(BrokerEvents::new(Node(1), |_| {}));
    turns_once_for_each_debt(&broker).await;
}

#[tokio::test]
async fn redis_turns_once_for_each_debt() {
    let server = servers::redis::RedisServer::start();
    turns_once_for_each_debt(&*started(Redis::connect(server.url()).into()).await).await;
}

#[tokio::test]
async fn postgres_turns_once_for_each_debt() {
    let server = servers::postgres::Server::start();
    turns_once_for_each_debt(&*started(Postgres::connect(server.url()).into()).await).await;
}

/// What a server of version 3 has made, and a stream that it counted.
const VERSION_3: &str = "
    drop function catamaran.attach(bigint, bytea, text, bigint, double precision, text);
    create function catamaran.attach(bigint, bytea, text, bigint, boolean, text) returns text language sql as 'select $3';
    alter table catamaran.streams drop column begun;
    insert into catamaran.streams (name, epoch) values ('room:1', 'counted');
    create or replace function catamaran.version() returns integer language sql immutable as 'select 3'";

#[tokio::test]
async fn tables_of_version_3_keep_their_streams() {
    let server = servers::postgres::Server::start();
    let admin = server.client().await;
    // Its server goes on.
    drop(started(Postgres::connect(server.url()).into()).await);
    admin.batch_execute(VERSION_3).await.unwrap();
    let broker = started(Postgres::connect(server.url()).into()).await;
    let stream = "room:1".into();
    let attach = async |known: &str, alone| {
        let known = Position { epoch: known.into(), offset: 0 };
        broker.attach(&stream, Some(known), alone).await.expect("it is up").top.epoch
    };
    assert_eq!(&*attach("counted", None).await, "counted");
    // When its epoch began nobody knows.
    let turned = attach("former", Some(Duration::from_secs(3600))).await;
    assert_ne!(&*turned, "counted");
    assert_eq!(attach("counted", Some(Duration::from_secs(3600))).await, turned);
    admin.batch_execute(Postgres::SCHEMA).await.unwrap();
    assert_eq!(attach("counted", None).await, turned);
}
