//! Changes that are written with the records, and told from there.

use serde_json::json;

use crate::{socket::Socket, world::World};

on_each_database! {
    what_is_written_is_told_once_the_relay_runs
    what_is_undone_is_not_written
    what_is_told_and_cannot_be_removed_is_told_once
}

pub(crate) async fn left(world: &World) -> i64 {
    use sea_orm::{ConnectionTrait, Statement};
    let db = world.resources.db();
    let count = Statement::from_string(db.get_database_backend(), "select count(*) as number from catamaran_outbox");
    let row = db.query_one_raw(count).await.expect("the table is there").expect("a row");
    row.try_get("", "number").expect("a number")
}

async fn what_is_written_is_told_once_the_relay_runs(world: World) {
    let (world, relay, hub) = world.with_outbox(|app| app).await;
    let mut ann = Socket::connect(&world, 1).await;
    let mut bob = Socket::connect(&world, 2).await;
    for socket in [&mut ann, &mut bob] {
        socket.get("/toy").await;
    }
    // The server that commits this dies before it tells anybody: no relay runs.
    ann.ask("post", "/toy", json!({"label": "ball"})).await;
    for label in ["bone", "stick"] {
        world.patch("/toy/1", json!({"label": label})).await.ok();
    }
    assert_eq!((bob.heard().await, left(&world).await), (vec![], 3));

    let relay = tokio::spawn(relay.run(hub));
    let mut labels = Vec::new();
    for _ in 0..3 {
        let event = bob.next().await;
        labels.push((event[1]["verb"].clone(), event[1]["data"]["label"].clone()));
    }
    let told = [("created", "ball"), ("updated", "bone"), ("updated", "stick")];
    assert_eq!(labels, told.map(|(verb, label)| (json!(verb), json!(label))));
    // Whoever asked for it is left out, though its request is long over.
    let heard: Vec<_> = [ann.next().await, ann.next().await].map(|event| event[1]["data"]["label"].clone()).into();
    assert_eq!(heard, [json!("bone"), json!("stick")]);
    // What is told is not kept, and what comes is told as it comes.
    world.delete("/toy/1").await.ok();
    assert_eq!(bob.next().await[1]["verb"], "destroyed");
    while left(&world).await > 0 {
        tokio::task::yield_now().await;
    }
    relay.abort();
}

async fn what_is_undone_is_not_written(world: World) {
    world.pet("Rex", None).await;
    let (world, _relay, _hub) = world.with_outbox(|app| app).await;
    world.ask("PATCH", "/pet/1", Some(0), Some(json!({"name": "Max"}))).await;
    world.patch("/pet/1", json!({"name": ""})).await.refused("E_INVALID_VALUES_TO_SET");
    assert_eq!(left(&world).await, 0);
}

/// As if a relay were killed between telling and removing, each time.
async fn what_is_told_and_cannot_be_removed_is_told_once(world: World) {
    let (world, relay, hub) = world.with_outbox(|app| app).await;
    world.forbid_removing().await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/toy").await;
    tokio::spawn(relay.run(hub));
    world.toy("ball").await;
    world.patch("/toy/1", json!({"label": "bone"})).await.ok();
    let mut labels = vec![page.next().await, page.next().await];
    // It is told some times more, until it can be removed; what comes then comes after that.
    world.allow_removing().await;
    while left(&world).await > 0 {
        tokio::task::yield_now().await;
    }
    world.patch("/toy/1", json!({"label": "stick"})).await.ok();
    labels.push(page.next().await);
    let labels: Vec<_> = labels.iter().map(|event| event[1]["data"]["label"].clone()).collect();
    assert_eq!(labels, ["ball", "bone", "stick"]);
}

#[cfg(feature = "backends")]
mod several_servers {
    use std::sync::Arc;

    use catamaran::Postgres;
    use catamaran_tests::backends::postgres::Server;
    use serde_json::json;
    use tokio::task::JoinSet;

    use crate::{
        other::Other,
        socket::{Socket, message},
        world::World,
    };

    const RECORDS: u64 = 8;

    /// A server on a database and a bus that it shares with others, which is ready, and whose relay runs.
    async fn server(world: World) -> World {
        let url = world.url.clone();
        let (world, relay, hub) = world.with_outbox(|app| app.broker(Postgres::connect(&url))).await;
        while hub.is_alone() {
            tokio::task::yield_now().await;
        }
        tokio::spawn(relay.run(hub));
        world
    }

    #[test]
    #[ignore = "a process of the test below"]
    fn a_server_that_is_to_be_killed() {
        crate::other::run(async |url| {
            let world = Arc::new(server(World::of(&url).await).await);
            let mut writers = JoinSet::new();
            for record in 1..=RECORDS {
                let world = world.clone();
                writers.spawn(async move {
                    for number in 1.. {
                        world.patch(&format!("/toy/{record}"), json!({"label": format!("{number}")})).await.ok();
                        println!("wrote");
                    }
                });
            }
            writers.join_all().await;
        });
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_server_committed_before_it_was_killed_is_told() {
        let world = World::postgres().await;
        for _ in 0..RECORDS {
            world.toy("0").await;
        }
        let world = server(world).await;
        let mut page = Socket::ours(&world, 1, json!({})).await;
        page.get("/toy").await;

        let mut other = Other::start("outbox::several_servers::a_server_that_is_to_be_killed", &world.url);
        page.hears_until(other.has_written(40 * RECORDS)).await;
        other.kill();
        page.hears_each_label_once(&world, vec![json!("0"); 8]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_servers_that_write_one_record_are_told_in_the_order_of_the_commits() {
        let world = World::postgres().await;
        world.toy("0").await;
        let world = Arc::new(server(world).await);
        let servers = [world.clone(), Arc::new(server(World::of(&world.url).await).await)];
        let mut page = Socket::ours(&servers[0], 1, json!({})).await;
        page.get("/toy").await;
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let world = servers[writer % 2].clone();
            writers.spawn(async move {
                for number in 1..=20 {
                    world.patch("/toy/1", json!({"label": format!("{}", 100 * writer + number)})).await.ok();
                }
            });
        }
        writers.join_all().await;
        page.hears_each_label_once(&servers[1], vec![json!("0")]).await;
    }

    #[tokio::test]
    async fn what_is_written_while_the_bus_is_away_waits_in_order() {
        let world = World::postgres().await;
        let mut bus = Server::start();
        let (world, relay, hub) = world.with_outbox(|app| app.broker(Postgres::connect(bus.url()))).await;
        tokio::spawn(relay.run(hub.clone()));
        // A crash of Postgres is a gap, which disconnects clients without positions.
        let mut page = Socket::ours(&world, 1, json!({})).await;
        while hub.is_alone() {
            tokio::task::yield_now().await;
        }
        page.get("/toy").await;
        world.toy("0").await;
        assert_eq!(message(&page.next().await)["verb"], "created");

        bus.crash();
        while !hub.is_alone() {
            tokio::task::yield_now().await;
        }
        for number in 1..=200 {
            world.patch("/toy/1", json!({"label": format!("{number}")})).await.ok();
        }
        assert!(super::left(&world).await > 0);
        bus.run();
        assert_eq!(page.next().await[0], "$gap");
        page.hears_each_label_once(&world, vec![json!("0")]).await;
    }
}
