//! More records than one statement, or one page, has room for.

use serde_json::json;

use crate::{outbox::left, socket::Socket, world::World};

on_each_database_with_triggers! {
    each_of_many_children_is_told_of_its_parents_end
    outbox_takes_more_changes_than_a_statement_has_parameters
}

/// A user with this many pets.
async fn owner_of(pets: usize, world: &World) {
    world.user("Ann").await;
    let numbers = format!("with recursive n (i) as (select 1 union all select i + 1 from n where i < {pets})");
    world.run(&format!("insert into pet (name, private, owner_id) {numbers} select 'Rex', false, 1 from n")).await;
}

async fn each_of_many_children_is_told_of_its_parents_end(world: World) {
    owner_of(1_100, &world).await;
    let mut page = Socket::connect(&world, 9).await;
    page.get("/pet?limit=1000").await;
    page.get("/pet?limit=1000&skip=1000").await;
    let orphans = async {
        let mut ids = std::collections::BTreeSet::new();
        while ids.len() < 1_100 {
            let event = page.next().await;
            assert_eq!(event[1]["data"]["owner"], json!(null), "{event}");
            ids.extend(event[1]["id"].as_i64());
        }
        ids
    };
    // A socket that does not read is disconnected.
    let (ended, orphans) = tokio::join!(world.delete("/user/1"), orphans);
    ended.ok();
    assert!(orphans.into_iter().eq(1..=1_100));
}

async fn outbox_takes_more_changes_than_a_statement_has_parameters(world: World) {
    let (world, _relay, _hub) = world.with_outbox(|app| app).await;
    owner_of(11_000, &world).await;
    let before = left(&world).await;
    world.delete("/user/1").await.ok();
    assert_eq!(left(&world).await - before, 11_001);
}
