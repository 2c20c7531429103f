//! What sockets hear of a change: whom, what, in which order.

use serde_json::{Value as Json, json};

use crate::{socket::Socket, world::World};

on_each_database! {
    a_new_record_is_told_to_those_who_list_them
    what_becomes_of_a_record_is_told_to_those_who_follow_it
    a_key_that_changes_is_told_to_both_owners
    members_are_told_of_on_both_sides
    a_new_record_with_members_is_told_of_as_in_sails
    the_end_of_a_record_is_told_to_those_that_led_to_it
    who_asks_for_one_record_hears_of_no_other
    populated_records_are_followed
    what_is_undone_is_not_told
    what_a_viewer_may_not_read_is_not_told
    a_record_that_comes_into_sight_is_new
    who_changes_a_record_follows_it
    update_that_changes_nothing_is_not_sent
    member_out_of_sight_is_not_named
}

/// Somebody who lists users and pets, and follows what is there.
async fn page(world: &World, user: i64) -> Socket {
    let mut page = Socket::connect(world, user).await;
    page.get("/user").await;
    page.get("/pet").await;
    page.get("/toy").await;
    assert_eq!(page.heard().await, [json!(null); 0]);
    page
}

fn pet(message: &Json) -> Json {
    json!(["pet", message])
}

fn user(message: &Json) -> Json {
    json!(["user", message])
}

fn rex(owner: &Json) -> Json {
    json!({"id": 1, "name": "Rex", "private": false, "owner": owner, "vet": null})
}

async fn a_new_record_is_told_to_those_who_list_them(world: World) {
    let (mut ann, mut bob) = (page(&world, 1).await, page(&world, 2).await);
    ann.ask("post", "/pet", json!({"name": "Rex"})).await;
    let created = pet(&json!({"verb": "created", "data": rex(&json!(null)), "id": 1}));
    assert_eq!(bob.heard().await, [created]);
    assert_eq!(ann.heard().await, [json!(null); 0]);
    // Who was told of it follows it, and who made it as well.
    world.patch("/pet/1", json!({"name": "Max"})).await.ok();
    let updated =
        pet(&json!({"verb": "updated", "data": {"id": 1, "name": "Max"}, "id": 1, "previous": rex(&json!(null))}));
    assert_eq!((ann.heard().await, bob.heard().await), (vec![updated.clone()], vec![updated]));
}

async fn what_becomes_of_a_record_is_told_to_those_who_follow_it(world: World) {
    world.pet("Rex", None).await;
    let (mut ann, mut bob) = (page(&world, 1).await, page(&world, 2).await);
    ann.ask("patch", "/pet/1", json!({"name": "Max", "private": false})).await;
    ann.ask("delete", "/pet/1", json!({})).await;
    let mut max = rex(&json!(null));
    max["name"] = json!("Max");
    let told = [
        pet(&json!({"verb": "updated", "data": {"id": 1, "name": "Max"}, "id": 1, "previous": rex(&json!(null))})),
        pet(&json!({"verb": "destroyed", "id": 1, "previous": max})),
    ];
    assert_eq!(bob.heard().await, told);
    assert_eq!(ann.heard().await, [json!(null); 0]);
}

async fn a_key_that_changes_is_told_to_both_owners(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    world.pet("Rex", Some(ann)).await;
    let mut page = page(&world, 9).await;
    world.patch("/pet/1", json!({"owner": bob})).await.ok();
    let told = [
        user(&json!({"verb": "removedFrom", "id": ann, "attribute": "pets", "removedId": 1})),
        user(&json!({"verb": "addedTo", "id": bob, "attribute": "pets", "addedId": 1})),
        pet(&json!({"verb": "updated", "data": {"id": 1, "owner": bob}, "id": 1, "previous": rex(&json!(ann))})),
    ];
    assert_eq!(page.heard().await, told);
    world.post("/pet", json!({"name": "Tom", "owner": ann})).await.ok();
    let tom = json!({"id": 2, "name": "Tom", "private": false, "owner": ann, "vet": null});
    let told = [
        user(&json!({"verb": "addedTo", "id": ann, "attribute": "pets", "addedId": 2})),
        pet(&json!({"verb": "created", "data": tom, "id": 2})),
    ];
    assert_eq!(page.heard().await, told);
}

async fn members_are_told_of_on_both_sides(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    let (rex_id, ball) = (world.pet("Rex", Some(bob)).await, world.toy("Ball").await);
    let mut page = page(&world, 9).await;
    world.put(&format!("/user/{ann}/pets/{rex_id}")).await.ok();
    let told = [
        user(&json!({"verb": "addedTo", "id": ann, "attribute": "pets", "addedId": 1})),
        pet(&json!({"verb": "updated", "data": {"id": 1, "owner": ann}, "id": 1, "previous": rex(&json!(bob))})),
        user(&json!({"verb": "removedFrom", "id": bob, "attribute": "pets", "removedId": 1})),
    ];
    assert_eq!(page.heard().await, told);
    // Once more changes nothing, so nothing is told.
    world.put(&format!("/user/{ann}/pets/{rex_id}")).await.ok();
    assert_eq!(page.heard().await, [json!(null); 0]);
    world.delete(&format!("/user/{ann}/pets/{rex_id}")).await.ok();
    let told = [
        user(&json!({"verb": "removedFrom", "id": ann, "attribute": "pets", "removedId": 1})),
        pet(&json!({"verb": "updated", "data": {"id": 1, "owner": null}, "id": 1, "previous": rex(&json!(ann))})),
    ];
    assert_eq!(page.heard().await, told);

    world.put(&format!("/pet/{rex_id}/toys/{ball}")).await.ok();
    world.ask("PUT", &format!("/pet/{rex_id}/toys"), None, Some(json!([]))).await.ok();
    let toy = |message: &Json| json!(["toy", message]);
    let told = [
        pet(&json!({"verb": "addedTo", "id": 1, "attribute": "toys", "addedId": 1})),
        toy(&json!({"verb": "addedTo", "id": 1, "attribute": "pets", "addedId": 1})),
        pet(&json!({"verb": "removedFrom", "id": 1, "attribute": "toys", "removedId": 1})),
        toy(&json!({"verb": "removedFrom", "id": 1, "attribute": "pets", "removedId": 1})),
    ];
    assert_eq!(page.heard().await, told);
}

async fn a_new_record_with_members_is_told_of_as_in_sails(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", Some(ann)).await;
    let mut page = page(&world, 9).await;
    let bob = json!({"name": "Bob", "email": "bob@example.org", "password": "s3cret", "pets": [1]});
    let bob = world.post("/user", bob).await.ok()["id"].clone();
    let heard = page.heard().await;
    let verbs: Vec<_> =
        heard.iter().map(|event| (&event[0], &event[1]["verb"])).map(|(a, b)| format!("{a} {b}")).collect();
    assert_eq!(verbs, [r#""pet" "updated""#, r#""user" "created""#, r#""user" "removedFrom""#]);
    assert_eq!((&heard[0][1]["data"]["owner"], &heard[1][1]["id"], &heard[2][1]["id"]), (&bob, &bob, &json!(ann)));
}

async fn the_end_of_a_record_is_told_to_those_that_led_to_it(world: World) {
    let ann = world.user("Ann").await;
    let (pet_id, ball) = (world.pet("Rex", Some(ann)).await, world.toy("Ball").await);
    world.put(&format!("/pet/{pet_id}/toys/{ball}")).await.ok();
    let mut page = page(&world, 9).await;
    world.delete(&format!("/user/{ann}")).await.ok();
    let heard = page.heard().await;
    assert_eq!((&heard[0][1]["verb"], &heard[0][1]["previous"]["name"]), (&json!("destroyed"), &json!("Ann")));
    let updated =
        pet(&json!({"verb": "updated", "data": {"id": 1, "owner": null}, "id": 1, "previous": rex(&json!(ann))}));
    assert_eq!(heard[1..], [updated]);
    world.delete(&format!("/pet/{pet_id}")).await.ok();
    let toy = json!(["toy", {"verb": "removedFrom", "id": ball, "attribute": "pets", "removedId": 1}]);
    assert_eq!(page.heard().await, [pet(&json!({"verb": "destroyed", "id": 1, "previous": rex(&json!(null))})), toy]);
}

async fn who_asks_for_one_record_hears_of_no_other(world: World) {
    world.pet("Rex", None).await;
    world.pet("Tom", None).await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/pet/2").await;
    world.patch("/pet/1", json!({"name": "Max"})).await.ok();
    world.pet("New", None).await;
    world.patch("/pet/2", json!({"name": "Tim"})).await.ok();
    let heard = page.heard().await;
    assert_eq!((heard.len(), &heard[0][1]["data"]), (1, &json!({"id": 2, "name": "Tim"})));
    // One that asks for what is not there hears of nothing.
    let mut nobody = Socket::connect(&world, 1).await;
    assert_eq!(nobody.ask("get", "/pet/9", json!({})).await.0, 404);
    world.delete("/pet/1").await.ok();
    assert_eq!(nobody.heard().await, [json!(null); 0]);
}

async fn populated_records_are_followed(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", Some(ann)).await;
    world.pet("Tom", None).await;
    for target in ["/user?populate=pets", "/user/1?populate=pets", "/user/1/pets"] {
        let mut page = Socket::connect(&world, 1).await;
        page.get(target).await;
        world.patch("/pet/2", json!({"name": "Tim"})).await.ok();
        world.patch("/pet/1", json!({"name": "Max"})).await.ok();
        world.patch("/user/1", json!({"age": 7})).await.ok();
        world.patch("/pet/1", json!({"name": "Rex"})).await.ok();
        world.patch("/user/1", json!({"age": 8})).await.ok();
        let heard = page.heard().await;
        let told: Vec<_> = heard.iter().map(|event| (event[0].as_str().unwrap(), &event[1]["id"])).collect();
        assert_eq!(
            told,
            [("pet", &json!(1)), ("user", &json!(1)), ("pet", &json!(1)), ("user", &json!(1))],
            "{target}"
        );
        // Pets that are new are not, but for Sails' way.
        world.pet("New", None).await;
        assert_eq!(page.heard().await, [json!(null); 0], "{target}");
    }
    let world = world.like_sails();
    let mut page = Socket::connect(&world, 1).await;
    page.get("/user").await;
    world.pet("Newer", None).await;
    assert_eq!(page.heard().await[0][1]["verb"], "created");
}

async fn what_is_undone_is_not_told(world: World) {
    world.pet("Rex", None).await;
    let mut page = page(&world, 1).await;
    world.ask("PATCH", "/pet/1", Some(0), Some(json!({"name": "Max"}))).await;
    world.ask("DELETE", "/pet/1", Some(0), None).await;
    world.ask("POST", "/pet", Some(0), Some(json!({"name": "Tom"}))).await;
    world.post("/pet", json!({"name": ""})).await.refused("E_INVALID_NEW_RECORD");
    world.patch("/pet/1", json!({"owner": 7})).await;
    assert_eq!(page.heard().await, [json!(null); 0]);
}

async fn what_a_viewer_may_not_read_is_not_told(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    let mut pages = [page(&world, ann).await, page(&world, bob).await];
    let secret = json!({"name": "Secret", "private": true, "owner": ann});
    world.ask("POST", "/pet", Some(ann), Some(secret)).await.ok();
    world.ask("PATCH", "/pet/1", Some(ann), Some(json!({"name": "Hidden"}))).await.ok();
    world.ask("DELETE", "/pet/1", Some(ann), None).await.ok();
    let verbs: Vec<_> = pages[0].heard().await.iter().map(|event| event[1]["verb"].clone()).collect();
    assert_eq!(verbs, ["addedTo", "created", "updated", "destroyed", "removedFrom"]);
    assert_eq!(pages[1].heard().await, [json!(null); 0]);
}

async fn a_record_that_comes_into_sight_is_new(world: World) {
    let ann = world.user("Ann").await;
    world.ask("POST", "/pet", Some(ann), Some(json!({"name": "Rex", "owner": ann}))).await.ok();
    let mut bob = page(&world, 2).await;
    let mut one = Socket::connect(&world, 3).await;
    one.get("/pet/1").await;
    for change in [json!({"private": true}), json!({"name": "Max"}), json!({"private": false})] {
        world.ask("PATCH", "/pet/1", Some(ann), Some(change)).await.ok();
    }
    let max = json!({"id": 1, "name": "Max", "private": false, "owner": ann, "vet": null});
    let gone = pet(&json!({"verb": "destroyed", "id": 1}));
    assert_eq!(bob.heard().await, [gone.clone(), pet(&json!({"verb": "created", "data": max, "id": 1}))]);
    // Who does not watch the pets hears of no new one.
    assert_eq!(one.heard().await, [gone]);
    world.delete("/pet/1").await.ok();
    assert_eq!(bob.heard().await[0][1]["verb"], "destroyed");
}

async fn who_changes_a_record_follows_it(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", None).await;
    let of = async |method: &str, target: &str, body: Json| {
        let mut socket = Socket::connect(&world, 1).await;
        assert_eq!(socket.ask(method, target, body).await.0, 200, "{target}");
        assert_eq!(socket.heard().await, [json!(null); 0], "{target}");
        socket
    };
    let mut follows_rex = [
        of("patch", "/pet/1", json!({"name": "Max"})).await,
        of("put", &format!("/user/{ann}/pets/1"), json!({})).await,
    ];
    let mut follows_nothing = [of("delete", &format!("/user/{ann}/pets/1"), json!({})).await];
    follows_rex[0].heard().await;
    follows_rex[1].heard().await;
    world.patch("/pet/1", json!({"name": "Rex"})).await.ok();
    for socket in &mut follows_rex {
        assert_eq!(socket.heard().await[0][1]["verb"], "updated");
    }
    for socket in &mut follows_nothing {
        assert_eq!(socket.heard().await, [json!(null); 0]);
    }
}

async fn update_that_changes_nothing_is_not_sent(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", Some(ann)).await;
    let mut page = page(&world, 9).await;
    for (method, target, body) in [
        ("PATCH", "/pet/1", json!({})),
        ("PATCH", "/pet/1", json!({"name": "Rex", "owner": ann})),
        ("PUT", "/pet/1", json!({"private": false})),
        ("PATCH", "/user/1", json!({"pets": [1]})),
        ("PUT", "/user/1/pets", json!([1])),
    ] {
        world.ask(method, target, None, Some(body)).await.ok();
    }
    world.put("/user/1/pets/1").await.ok();
    assert_eq!(page.heard().await, [json!(null); 0]);
}

async fn member_out_of_sight_is_not_named(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    world.toy("ball").await;
    let mut pages = [page(&world, ann).await, page(&world, bob).await];
    let as_ann = async |method: &str, target: &str, body: Option<Json>| {
        world.ask(method, target, Some(ann), body).await.ok();
    };
    // Each of these is told of a record that everybody follows, and names a pet that Ann alone may read.
    as_ann("POST", "/pet", Some(json!({"name": "Secret", "private": true, "owner": ann}))).await;
    as_ann("PUT", "/toy/1/pets/1", None).await;
    as_ann("PUT", "/pet/1/toys", Some(json!([]))).await;
    as_ann("PATCH", "/pet/1", Some(json!({"vet": bob}))).await;
    as_ann("PUT", &format!("/user/{ann}/patients/1"), None).await;
    as_ann("DELETE", &format!("/user/{ann}/patients/1"), None).await;
    let members = |heard: Vec<Json>| -> Vec<Json> {
        let told = heard.into_iter().filter(|event| event[0] != "pet");
        told.map(|event| json!([event[0], event[1]["id"], event[1]["verb"], event[1]["attribute"]])).collect()
    };
    let told = [
        json!(["user", ann, "addedTo", "pets"]),
        json!(["toy", 1, "addedTo", "pets"]),
        json!(["toy", 1, "removedFrom", "pets"]),
        json!(["user", bob, "addedTo", "patients"]),
        json!(["user", ann, "addedTo", "patients"]),
        json!(["user", bob, "removedFrom", "patients"]),
        json!(["user", ann, "removedFrom", "patients"]),
    ];
    assert_eq!(members(pages[0].heard().await), told);
    assert_eq!(pages[1].heard().await, [json!(null); 0]);

    // As it is while it is a member: what was read before may be known to be gone.
    as_ann("PATCH", "/pet/1", Some(json!({"private": false}))).await;
    as_ann("PATCH", "/pet/1", Some(json!({"vet": bob}))).await;
    as_ann("PATCH", "/pet/1", Some(json!({"private": true, "vet": null}))).await;
    let told = [json!(["user", bob, "addedTo", "patients"]), json!(["user", bob, "removedFrom", "patients"])];
    assert_eq!(members(pages[1].heard().await), told);
    as_ann("PATCH", "/pet/1", Some(json!({"private": false, "vet": bob}))).await;
    as_ann("PATCH", "/pet/1", Some(json!({"private": true}))).await;
    as_ann("DELETE", "/pet/1", None).await;
    assert_eq!(members(pages[1].heard().await), [json!(["user", bob, "addedTo", "patients"])]);
}
