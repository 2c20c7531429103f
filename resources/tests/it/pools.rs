//! The connections of a file of SQLite: reads beside a write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use catamaran_resources::Resources;
use sea_orm::{ConnectOptions, ConnectionTrait, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use serde_json::json;
use tokio::time::timeout;

use crate::world::World;

#[tokio::test]
async fn read_does_not_wait_for_a_write_on_a_sqlite_file() {
    let world = World::file().await;
    world.pet("Rex", None).await;
    let options =
        TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
    let write = world.resources.db().begin_with_options(options).await.expect("the lock");
    write.execute_unprepared("update pet set name = 'Max'").await.expect("a sound statement");
    let read = timeout(Duration::from_secs(20), world.get("/pet/1")).await.expect("it does not wait");
    assert_eq!(read.ok()["name"], "Rex");
    write.commit().await.expect("a commit");
    assert_eq!(world.get("/pet/1").await.ok()["name"], "Max");
}

#[tokio::test]
async fn options_of_open_set_the_pool() {
    let world = World::file().await;
    let mut options = ConnectOptions::new(&world.url);
    options.max_connections(1).acquire_timeout(Duration::from_secs(3));
    let resources = Resources::open(options).await.expect("the database is there");
    let _held = resources.db().begin().await.expect("the only connection");
    let second = resources.db().begin().await.expect_err("no connection is left");
    assert!(matches!(second, sea_orm::DbErr::ConnectionAcquire(_)), "{second}");
}

/// Prints the reads of 4 readers beside a writer, by the number of connections: run it with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn reads_beside_a_writer() {
    for connections in [1, 5] {
        let file = World::file().await;
        let mut options = ConnectOptions::new(&file.url);
        options.max_connections(connections);
        let world = Arc::new(World::of(options).await);
        world.pet("Rex", None).await;
        let (stop, reads, writes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let counts = Arc::new((stop, reads, writes));
        let mut tasks = tokio::task::JoinSet::new();
        for reader in 0..5 {
            let (world, counts) = (world.clone(), counts.clone());
            tasks.spawn(async move {
                let (stop, reads, writes) = &*counts;
                while !stop.load(Ordering::Relaxed) {
                    if reader == 4 {
                        let name = format!("Rex {}", writes.fetch_add(1, Ordering::Relaxed));
                        world.patch("/pet/1", json!({"name": name})).await.ok();
                    } else {
                        world.get("/pet/1").await.ok();
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_secs(3)).await;
        counts.0.store(true, Ordering::Relaxed);
        tasks.join_all().await;
        let seconds = begun.elapsed().as_secs_f64();
        let rate = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64 / seconds;
        println!("{connections} connections: {:.0} reads/s, {:.0} writes/s", rate(&counts.1), rate(&counts.2));
    }
}
