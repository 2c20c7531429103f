//! Many who write and many who ask at once: nobody misses a change, and each change follows the one before.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::{socket::Socket, world::World};

mod file {
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn each_change_follows_the_one_before() {
        super::each_change_follows_the_one_before(crate::world::World::file().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_child_that_many_take_has_one_owner_after_the_other() {
        super::a_child_that_many_take_has_one_owner_after_the_other(crate::world::World::file().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_falls_between_a_list_and_its_changes() {
        super::nothing_falls_between_a_list_and_its_changes(crate::world::World::file().await).await;
    }
}

#[cfg(feature = "backends")]
mod postgres {
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn each_change_follows_the_one_before() {
        super::each_change_follows_the_one_before(crate::world::World::postgres().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_child_that_many_take_has_one_owner_after_the_other() {
        super::a_child_that_many_take_has_one_owner_after_the_other(crate::world::World::postgres().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_falls_between_a_list_and_its_changes() {
        super::nothing_falls_between_a_list_and_its_changes(crate::world::World::postgres().await).await;
    }
}

const WRITERS: u64 = 8;
const UPDATES: u64 = 50;
const READERS: usize = 8;
const SUBSCRIPTIONS: usize = 50;
const RECORDS: u64 = 50;
/// How many changes each subscription hears at least.
const CHANGES: usize = 3;
/// How many it hears, if a change never comes.
const MANY: usize = 2000;

/// Numbers that no two writes share.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn next() -> String {
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

async fn each_change_follows_the_one_before(world: World) {
    world.toy("first").await;
    let world = Arc::new(world);
    let mut page = Socket::connect(&world, 1).await;
    page.get("/toy").await;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let world = world.clone();
        writers.spawn(async move {
            for _ in 0..UPDATES {
                world.patch("/toy/1", json!({"label": next()})).await.ok();
            }
        });
    }
    writers.join_all().await;
    let heard = page.heard().await;
    assert_eq!(heard.len() as u64, WRITERS * UPDATES);
    let mut label = json!("first");
    for event in heard {
        assert_eq!(event[1]["previous"]["label"], label);
        label = event[1]["data"]["label"].clone();
    }
    assert_eq!(world.get("/toy/1").await.ok()["label"], label);
}

async fn a_child_that_many_take_has_one_owner_after_the_other(world: World) {
    for number in 0..WRITERS {
        world.user(&format!("User{number}")).await;
    }
    world.pet("Rex", None).await;
    let world = Arc::new(world);
    let mut page = Socket::connect(&world, 99).await;
    page.get("/user").await;
    page.get("/pet").await;
    let mut writers = JoinSet::new();
    for user in 1..=WRITERS {
        let world = world.clone();
        writers.spawn(async move {
            for _ in 0..UPDATES / 5 {
                world.put(&format!("/user/{user}/pets/1")).await.ok();
                world.patch("/pet/1", json!({"owner": user})).await.ok();
            }
        });
    }
    writers.join_all().await;
    let (mut owner, mut members) = (json!(null), HashMap::<u64, bool>::new());
    for event in page.heard().await {
        let message = &event[1];
        match (event[0].as_str(), message["verb"].as_str()) {
            (Some("pet"), Some("updated")) => {
                assert_eq!(message["previous"]["owner"], owner, "{event}");
                owner = message["data"].get("owner").cloned().unwrap_or(owner);
            }
            (Some("user"), Some(verb @ ("addedTo" | "removedFrom"))) => {
                let user = message["id"].as_u64().expect("a user");
                let was = members.insert(user, verb == "addedTo").unwrap_or_default();
                assert_ne!(was, verb == "addedTo", "{event}");
            }
            _ => panic!("{event}"),
        }
    }
    let last = world.get("/pet/1").await.ok()["owner"].clone();
    assert_eq!(owner, last);
    let owners: Vec<_> = members.iter().filter(|(_, member)| **member).map(|(user, _)| json!(user)).collect();
    assert_eq!(owners, [last]);
}

async fn nothing_falls_between_a_list_and_its_changes(world: World) {
    for _ in 0..RECORDS {
        world.toy("0").await;
    }
    let (world, over) = (Arc::new(world), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (world, over) = (world.clone(), over.clone());
        writers.spawn(async move {
            let mut at = writer;
            while !over.load(Ordering::Relaxed) {
                at = (at * 7 + 3) % RECORDS;
                world.patch(&format!("/toy/{}", at + 1), json!({"label": next()})).await.ok();
            }
        });
    }
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let world = world.clone();
        readers.spawn(async move {
            for _ in 0..SUBSCRIPTIONS {
                let mut page = Socket::connect(&world, 1).await;
                let list = page.get("/toy?limit=1000").await;
                let mut heard = Vec::new();
                while heard.len() < CHANGES {
                    heard.push(page.next().await);
                }
                let now = page.get("/toy?limit=1000").await;
                // What stands there may have been committed only just, and is told in a moment.
                while !follows(&heard, &list, &now) {
                    assert!(heard.len() < MANY, "a change was missed: {list} {now} {heard:?}");
                    heard.push(page.next().await);
                }
            }
        });
    }
    readers.join_all().await;
    over.store(true, Ordering::Relaxed);
    writers.join_all().await;
}

/// Whether a page has heard all that leads from a list to a later one: of each record every change, each of which follows the
/// one before.
fn follows(heard: &[Json], list: &Json, now: &Json) -> bool {
    let mut changes = HashMap::<u64, Vec<(&Json, &Json)>>::new();
    for event in heard {
        let id = event[1]["id"].as_u64().expect("a record");
        let (from, to) = (&event[1]["previous"]["label"], &event[1]["data"]["label"]);
        let changes = changes.entry(id).or_default();
        assert!(changes.last().is_none_or(|(_, last)| *last == from), "record {id}: {changes:?}, then {from} {to}");
        changes.push((from, to));
    }
    list.as_array().expect("a list").iter().zip(now.as_array().expect("a list")).all(|(before, after)| {
        let changes = changes.get(&before["id"].as_u64().expect("a record"));
        let known: Vec<_> = changes.into_iter().flatten().flat_map(|(from, to)| [*from, *to]).collect();
        let [before, after] = [&before["label"], &after["label"]];
        // A change that stands in the first list already may be told all the same.
        known.contains(&before) && known.contains(&after) || changes.is_none() && before == after
    })
}
