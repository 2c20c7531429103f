//! Change messages for a client that was away.

use serde_json::{Value as Json, json};

use crate::{socket::Socket, world::World};

on_each_database! {
    what_was_missed_is_sent_again
    a_replay_passes_the_policy
    what_left_the_list_meanwhile_is_told
    replay_names_no_member_out_of_sight
}

/// The position of a channel in an ack to the catamaran client, and its viewer.
pub(crate) fn position(ack: &Json, channel: &str) -> Json {
    let [epoch, offset, viewer] = [0, 1, 4].map(|at| &ack["channels"][channel][at]);
    assert!(offset.is_u64(), "{ack}");
    match viewer {
        Json::Null => json!([epoch, offset, offset]),
        viewer => json!([epoch, offset, offset, viewer]),
    }
}

/// How a request was resumed.
pub(crate) fn outcome(ack: &Json, channel: &str) -> String {
    ack["channels"][channel][2].as_str().unwrap_or_default().to_owned()
}

/// What was missed of pets, by verb and identity.
async fn missed(socket: &mut Socket) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for event in socket.heard().await {
        assert_eq!((event[0].as_str(), event[1].as_str()), (Some("$replay"), Some("pet")), "{event}");
        for entry in event[2].as_array().expect("entries") {
            if let Some(message) = entry.get(2) {
                all.push((
                    message["verb"].as_str().expect("a verb").to_owned(),
                    message["id"].as_u64().expect("an id"),
                ));
            }
        }
    }
    all
}

async fn away(world: &World, user: i64, target: &str, change: impl AsyncFnOnce()) -> (Json, Socket) {
    let mut socket = Socket::ours(world, user, json!({})).await;
    let ack = socket.ack("get", target, json!({})).await;
    assert_eq!(ack["channels"]["pet"][3], "filtered", "{ack}");
    let resume = json!({"pet": position(&ack, "pet")});
    drop(socket);
    change().await;
    let mut back = Socket::ours(world, user, resume).await;
    let ack = back.ack("get", target, json!({})).await;
    assert_eq!(ack["channels"]["pet"][2], "recovered", "{ack}");
    (ack["body"].clone(), back)
}

fn told(verbs: &[(&str, u64)]) -> Vec<(String, u64)> {
    verbs.iter().map(|(verb, id)| ((*verb).to_owned(), *id)).collect()
}

async fn what_was_missed_is_sent_again(world: World) {
    world.pet("Rex", None).await;
    let changes = async || {
        world.patch("/pet/1", json!({"name": "Max"})).await.ok();
        world.pet("New", None).await;
        world.patch("/pet/2", json!({"name": "Newer"})).await.ok();
    };
    let (list, mut back) = away(&world, 1, "/pet", changes).await;
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert_eq!(missed(&mut back).await, told(&[("updated", 1), ("created", 2), ("updated", 2)]));
    world.delete("/pet/2").await.ok();
    let live = back.next().await;
    assert_eq!((&live[0], &live[4]["verb"]), (&json!("$"), &json!("destroyed")));
}

async fn a_replay_passes_the_policy(world: World) {
    let ann = world.user("Ann").await;
    let as_ann = async |method: &str, target: &str, body: Json| {
        world.ask(method, target, Some(ann), Some(body)).await.ok();
    };
    as_ann("POST", "/pet", json!({"name": "Rex", "owner": ann})).await;
    let changes = async || {
        as_ann("POST", "/pet", json!({"name": "Secret", "private": true, "owner": ann})).await;
        as_ann("PATCH", "/pet/2", json!({"name": "Still secret"})).await;
        as_ann("PATCH", "/pet/1", json!({"private": true})).await;
        as_ann("PATCH", "/pet/1", json!({"name": "Unseen"})).await;
        as_ann("PATCH", "/pet/1", json!({"private": false})).await;
    };
    let (_, mut back) = away(&world, 7, "/pet", changes).await;
    assert_eq!(missed(&mut back).await, told(&[("destroyed", 1), ("created", 1)]));
}

async fn what_left_the_list_meanwhile_is_told(world: World) {
    for name in ["Rex", "Tom", "Kit"] {
        world.pet(name, None).await;
    }
    let changes = async || {
        world.delete("/pet/1").await.ok();
        world.patch("/pet/2", json!({"name": "Another"})).await.ok();
        world.patch("/pet/3", json!({"name": "Kitty"})).await.ok();
    };
    let target = r#"/pet?where={"name":["Rex","Tom","Kitty"]}"#;
    let (list, mut back) = away(&world, 1, target, changes).await;
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(missed(&mut back).await, told(&[("destroyed", 1), ("updated", 2), ("updated", 3)]));

    // Who asked for one record hears of that one.
    let changes = async || {
        world.patch("/pet/3", json!({"name": "Kit"})).await.ok();
        world.patch("/pet/2", json!({"name": "Tom"})).await.ok();
    };
    let (_, mut back) = away(&world, 2, "/pet/2", changes).await;
    assert_eq!(missed(&mut back).await, told(&[("updated", 2)]));
}

async fn replay_names_no_member_out_of_sight(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", None).await;
    for (user, expected) in [(ann, vec!["addedTo", "addedTo"]), (7, vec!["addedTo"])] {
        let mut socket = Socket::ours(&world, user, json!({})).await;
        let ack = socket.ack("get", "/user", json!({})).await;
        let resume = json!({"user": position(&ack, "user")});
        drop(socket);
        let as_ann = async |method: &str, target: &str, body: Json| {
            world.ask(method, target, Some(ann), Some(body)).await.ok();
        };
        as_ann("POST", "/pet", json!({"name": "Secret", "private": true, "owner": ann})).await;
        as_ann("POST", "/pet", json!({"name": "Tom", "owner": ann})).await;
        let mut back = Socket::ours(&world, user, resume).await;
        back.ack("get", "/user", json!({})).await;
        let replay = back.heard().await;
        let told: Vec<_> = replay.iter().flat_map(|event| event[2].as_array().cloned().unwrap_or_default()).collect();
        let verbs: Vec<_> = told.iter().filter_map(|entry| entry.get(2)?["verb"].as_str()).collect();
        assert_eq!(verbs, expected, "{replay:?}");
    }
}
