//! Changes that are written with the records, and told from there.

use serde_json::json;

use crate::{socket::Socket, world::World};

on_each_database! {
    what_is_written_is_told_once_the_relay_runs
    what_is_undone_is_not_written
    what_is_told_and_cannot_be_removed_is_told_once
}

async fn left(world: &World) -> i64 {
    use sea_orm::{ConnectionTrait, Statement};
    let db = world.resources.db();
    let count = Statement::from_string(db.get_database_backend(), "select count(*) as rows from catamaran_outbox");
    let row = db.query_one_raw(count).await.expect("the table is there").expect("a row");
    row.try_get("", "rows").expect("a number")
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
    let forbid = match world.is_on_postgres() {
        true => {
            "create function forbid() returns trigger language plpgsql as $$ begin raise 'it stays'; end $$;
             create trigger forbid before delete on catamaran_outbox for each row execute function forbid()"
        }
        false => "create trigger forbid before delete on catamaran_outbox begin select raise(abort, 'it stays'); end",
    };
    world.run(forbid).await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/toy").await;
    tokio::spawn(relay.run(hub));
    world.toy("ball").await;
    world.patch("/toy/1", json!({"label": "bone"})).await.ok();
    let mut labels = vec![page.next().await, page.next().await];
    // It is told some times more, until it can be removed; what comes then comes after that.
    world.run(if world.is_on_postgres() { "drop function forbid() cascade" } else { "drop trigger forbid" }).await;
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
    use std::{
        env,
        io::{BufRead, BufReader},
        process::{Command, Stdio},
        sync::Arc,
    };

    use catamaran::Postgres;
    use catamaran_resources::Resources;
    use serde_json::{Value as Json, json};
    use tokio::task::JoinSet;

    use crate::{socket::Socket, world::World};

    /// The database of the process that is killed.
    const URL: &str = "CATAMARAN_OUTBOX_URL";
    const RECORDS: u64 = 8;

    /// A server on a database and a bus that it shares with others, which is ready, and whose relay runs.
    async fn server(world: World, url: &str) -> World {
        let (world, relay, hub) = world.with_outbox(|app| app.bus(Postgres::connect(url))).await;
        while hub.is_alone() {
            tokio::task::yield_now().await;
        }
        tokio::spawn(relay.run(hub));
        world
    }

    /// The other server: it writes as fast as it can until it is killed, and says how far it came.
    #[test]
    #[ignore = "a process of the test below"]
    fn a_server_that_is_to_be_killed() {
        let url = env::var(URL).expect("a database");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let resources = Resources::open(&url).await.expect("the database is there");
            let world = Arc::new(server(World::of(resources), &url).await);
            println!("writes");
            let mut writers = JoinSet::new();
            for record in 1..=RECORDS {
                let world = world.clone();
                writers.spawn(async move {
                    for number in 1.. {
                        world.patch(&format!("/toy/{record}"), json!({"label": format!("{number}")})).await.ok();
                        if number == 40 {
                            println!("wrote {record}");
                        }
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
        let url = world.url();
        let world = server(world, &url).await;
        let mut page = Socket::connect(&world, 1).await;
        let list = page.get("/toy").await;

        let mut other = Command::new(env::current_exe().expect("a test"))
            .args(["outbox::several_servers::a_server_that_is_to_be_killed", "--exact", "--ignored", "--nocapture"])
            .env(URL, &url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let (sender, mut wrote) = tokio::sync::mpsc::unbounded_channel();
        let output = BufReader::new(other.stdout.take().expect("its output"));
        let reading = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line.starts_with("wrote") {
                    sender.send(()).expect("the test waits");
                }
            }
        });
        for _ in 0..RECORDS {
            tokio::time::timeout(std::time::Duration::from_secs(60), wrote.recv()).await.expect("it writes");
        }
        other.kill().expect("it runs");
        other.wait().expect("it ended");
        reading.join().expect("its output ended");

        // The first change of each record follows what the page had, and each the one before, once.
        let mut labels: Vec<Json> = records(&list);
        let now = world.get("/toy").await;
        while labels != records(now.ok()) {
            let event = page.next().await;
            let message = &event[1];
            let label = &mut labels[message["id"].as_u64().expect("a record") as usize - 1];
            assert_eq!(message["previous"]["label"], *label, "{event}");
            label.clone_from(&message["data"]["label"]);
        }
        assert!(labels.iter().all(|label| number(label) >= 40), "{labels:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_servers_that_write_one_record_are_told_in_the_order_of_the_commits() {
        let world = World::postgres().await;
        world.toy("0").await;
        let url = world.url();
        let resources = Resources::open(&url).await.expect("the database is there");
        let servers = [Arc::new(server(world, &url).await), Arc::new(server(World::of(resources), &url).await)];
        let mut page = Socket::connect(&servers[0], 1).await;
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
        let mut label = json!("0");
        for _ in 0..8 * 20 {
            let event = page.next().await;
            assert_eq!(event[1]["previous"]["label"], label);
            label = event[1]["data"]["label"].clone();
        }
        assert_eq!(servers[1].get("/toy/1").await.ok()["label"], label);
    }

    fn records(list: &Json) -> Vec<Json> {
        list.as_array().expect("a list").iter().map(|record| record["label"].clone()).collect()
    }

    fn number(label: &Json) -> u64 {
        label.as_str().expect("a text").parse().expect("a number")
    }
}
