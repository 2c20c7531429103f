//! Records that lead to others.

use serde_json::json;

use crate::world::World;

on_each_database! {
    a_key_is_shown_under_the_name_of_its_association
    an_association_is_listed
    a_list_is_populated_by_association
    what_is_populated_is_bounded_for_each_parent
    members_are_added_and_removed
    a_child_is_taken_from_another
    many_to_many_is_seen_from_both_sides
    a_membership_is_added_once
    members_are_replaced
    a_record_is_made_with_its_members
    an_update_replaces_members
    an_entity_leads_to_itself
    friends_are_of_one_entity
    two_associations_lead_to_one_entity
    a_key_to_nothing_is_refused
    the_end_of_a_record_releases_what_led_to_it
    end_of_a_record_asks_more_records_than_a_page_has
}

async fn a_key_is_shown_under_the_name_of_its_association(world: World) {
    let ann = world.user("Ann").await;
    let rex = world.pet("Rex", Some(ann)).await;
    let whole = json!({"id": rex, "name": "Rex", "owner": ann, "vet": null, "private": false});
    assert_eq!(world.get(&format!("/pet/{rex}")).await.ok(), &whole);
    let populated = world.get(&format!("/pet/{rex}?populate=owner,vet")).await;
    assert_eq!(populated.ok()["owner"]["name"], "Ann");
    assert!(populated.ok()["vet"].is_null() && populated.ok()["owner"].get("password").is_none());
}

async fn an_association_is_listed(world: World) {
    let ann = world.user("Ann").await;
    for name in ["Rex", "Tom", "Ada"] {
        world.pet(name, Some(ann)).await;
    }
    let stray = world.pet("Stray", None).await;
    assert_eq!(world.get("/user/1/pets").await.ids(), [1, 2, 3]);
    assert_eq!(world.get("/user/1/pets?sort=name&limit=2").await.ids(), [3, 1]);
    assert_eq!(world.get("/user/1/pets?sort=name&skip=1").await.ids(), [1, 2]);
    assert_eq!(world.get("/user/1/pets?name=Tom").await.ids(), [2]);
    assert_eq!(world.get("/user/1/pets?select=name&limit=1").await.ok(), &json!([{"id": 1, "name": "Rex"}]));
    assert_eq!(world.get("/pet/1/owner").await.ok()["name"], "Ann");
    world.get(&format!("/pet/{stray}/owner")).await.is_missing();
    world.get("/user/1/pets?sort=nobody").await.refused("E_INVALID_CRITERIA");
    world.get("/user/1/pets?populate=owner").await.refused("E_INVALID_POPULATES");
    world.get("/user/1/password").await.is_missing();
}

async fn a_list_is_populated_by_association(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    world.pet("Rex", Some(ann)).await;
    world.pet("Tom", Some(bob)).await;
    world.pet("Ada", Some(ann)).await;
    let list = world.get("/user?populate=pets&sort=id%20DESC").await;
    let names = |at: usize| {
        let pets = list.ok()[at]["pets"].as_array().expect("a list");
        pets.iter().map(|pet| pet["name"].as_str().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!((names(0), names(1)), (vec!["Tom"], vec!["Rex", "Ada"]));
    assert!(world.get("/user").await.ok()[0].get("pets").is_none());
    assert!(world.get("/user?populate=false").await.ok()[0].get("pets").is_none());
    let selected = world.get("/user?select=name&populate=pets,boss&limit=1").await;
    let keys: Vec<_> = selected.ok()[0].as_object().expect("a record").keys().collect();
    assert_eq!(keys, ["boss", "id", "name", "pets"]);
}

async fn what_is_populated_is_bounded_for_each_parent(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    for at in 0..35 {
        world.pet(&format!("pet {at}"), Some(ann)).await;
    }
    world.pet("Tom", Some(bob)).await;
    let list = world.get("/user?populate=pets").await;
    let count = |at: usize| list.ok()[at]["pets"].as_array().map(Vec::len);
    assert_eq!((count(0), count(1)), (Some(30), Some(1)));
    assert_eq!(world.get("/user/1/pets?limit=1000").await.ids().len(), 35);
    world.get("/user/1/pets?limit=1001").await.refused("E_INVALID_CRITERIA");
}

async fn members_are_added_and_removed(world: World) {
    world.user("Ann").await;
    world.pet("Rex", None).await;
    let added = world.put("/user/1/pets/1").await;
    assert_eq!((&added.ok()["id"], &added.ok()["pets"][0]["owner"]), (&json!(1), &json!(1)));
    assert_eq!(world.put("/user/1/pets/1").await.ok(), added.ok());
    let removed = world.delete("/user/1/pets/1").await;
    assert_eq!(removed.ok()["pets"], json!([]));
    // What is no member is none afterwards.
    assert_eq!(world.delete("/user/1/pets/1").await.ok(), removed.ok());
    assert!(world.get("/pet/1").await.ok()["owner"].is_null());
    world.put("/user/1/pets/9").await.is_missing();
    world.delete("/user/1/pets/9").await.is_missing();
}

async fn a_child_is_taken_from_another(world: World) {
    let (ann, _) = (world.user("Ann").await, world.user("Bob").await);
    world.pet("Rex", Some(ann)).await;
    world.put("/user/2/pets/1").await.ok();
    assert_eq!(world.get("/user/1/pets").await.ids(), [0; 0]);
    assert_eq!(world.get("/user/2/pets").await.ids(), [1]);
    // Who is not the parent cannot remove it.
    world.delete("/user/1/pets/1").await.ok();
    assert_eq!(world.get("/user/2/pets").await.ids(), [1]);
}

async fn many_to_many_is_seen_from_both_sides(world: World) {
    world.pet("Rex", None).await;
    world.pet("Tom", None).await;
    world.toy("ball").await;
    world.toy("bone").await;
    world.put("/pet/1/toys/1").await.ok();
    world.put("/pet/1/toys/2").await.ok();
    assert_eq!(world.put("/toy/2/pets/2").await.ok()["pets"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.get("/pet/1/toys").await.ids(), [1, 2]);
    assert_eq!(world.get("/pet/1/toys?sort=label%20DESC&limit=1").await.ids(), [2]);
    assert_eq!(world.get("/toy/2/pets").await.ids(), [1, 2]);
    let list = world.get("/toy?populate=pets").await;
    assert_eq!((&list.ok()[0]["pets"][0]["id"], &list.ok()[1]["pets"][1]["id"]), (&json!(1), &json!(2)));
    world.delete("/pet/1/toys/1").await.ok();
    assert_eq!(world.get("/toy/1/pets").await.ids(), [0; 0]);
}

async fn a_membership_is_added_once(world: World) {
    world.pet("Rex", None).await;
    world.toy("ball").await;
    world.put("/pet/1/toys/1").await.ok();
    assert_eq!(world.put("/pet/1/toys/1").await.ok()["toys"].as_array().map(Vec::len), Some(1));
}

async fn members_are_replaced(world: World) {
    world.user("Ann").await;
    for name in ["Rex", "Tom", "Ada"] {
        world.pet(name, None).await;
    }
    let replace = async |target: &str, ids| world.ask("PUT", target, None, Some(ids)).await;
    assert_eq!(replace("/user/1/pets", json!([1, 2])).await.ok()["pets"].as_array().map(Vec::len), Some(2));
    replace("/user/1/pets", json!([2, 3, 3, "3"])).await.ok();
    assert_eq!(world.get("/user/1/pets").await.ids(), [2, 3]);
    replace("/user/1/pets", json!([1, 9])).await.is_missing();
    assert_eq!(world.get("/user/1/pets").await.ids(), [2, 3]);
    for body in [json!({"pets": [1]}), json!([null]), json!(["x"]), json!(vec![1; 1001])] {
        replace("/user/1/pets", body).await.refused("E_INVALID_ASSOCIATED_IDS");
    }
    replace("/user/1/pets", json!([])).await.ok();
    assert_eq!(world.get("/user/1/pets").await.ids(), [0; 0]);

    world.toy("ball").await;
    world.toy("bone").await;
    replace("/pet/1/toys", json!([1])).await.ok();
    replace("/pet/1/toys", json!([2])).await.ok();
    assert_eq!(world.get("/pet/1/toys").await.ids(), [2]);
}

async fn a_record_is_made_with_its_members(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", Some(ann)).await;
    world.pet("Tom", None).await;
    let bob = json!({"name": "Bob", "email": "bob@example.org", "password": "s3cret", "pets": [1, 2], "friends": [1]});
    world.post("/user", bob.clone()).await.ok();
    assert_eq!(world.get("/user/2/pets").await.ids(), [1, 2]);
    assert_eq!(world.get("/user/1/pets").await.ids(), [0; 0]);
    assert_eq!(world.get("/user/1/befriendedBy").await.ids(), [2]);
    let mut cy = bob;
    (cy["email"], cy["pets"]) = (json!("cy@example.org"), json!([1, 9]));
    let refused = world.post("/user", cy).await;
    refused.refused("E_INVALID_NEW_RECORD");
    assert_eq!(refused.body["problems"][0]["field"], "pets");
    assert_eq!(world.get("/user").await.ids(), [1, 2]);
}

async fn an_update_replaces_members(world: World) {
    world.user("Ann").await;
    world.pet("Rex", None).await;
    world.pet("Tom", None).await;
    world.patch("/user/1", json!({"age": 30, "pets": [1]})).await.ok();
    world.patch("/user/1", json!({"pets": [2]})).await.ok();
    assert_eq!(world.get("/user/1/pets").await.ids(), [2]);
    world.patch("/user/1", json!({"age": 31, "pets": [9]})).await.is_missing();
    assert_eq!(world.get("/user/1").await.ok()["age"], 30);
}

async fn an_entity_leads_to_itself(world: World) {
    for name in ["Ann", "Bob", "Cy"] {
        world.user(name).await;
    }
    world.put("/user/1/staff/2").await.ok();
    world.patch("/user/3", json!({"boss": 1})).await.ok();
    assert_eq!(world.get("/user/1/staff").await.ids(), [2, 3]);
    assert_eq!(world.get("/user/2/boss").await.ok()["name"], "Ann");
    let populated = world.get("/user/1?populate=staff,boss").await;
    assert_eq!(populated.ok()["staff"][1]["name"], "Cy");
    // Somebody who is the own boss is a member of the own staff.
    let own = world.put("/user/1/staff/1").await;
    assert_eq!((&own.ok()["boss"], own.ok()["staff"].as_array().map(Vec::len)), (&json!(1), Some(3)));
    world.delete("/user/1").await.ok();
    assert!(world.get("/user/2").await.ok()["boss"].is_null());
}

async fn friends_are_of_one_entity(world: World) {
    for name in ["Ann", "Bob", "Cy"] {
        world.user(name).await;
    }
    world.put("/user/1/friends/2").await.ok();
    world.put("/user/1/befriendedBy/3").await.ok();
    assert_eq!(world.get("/user/1/friends").await.ids(), [2]);
    assert_eq!(world.get("/user/1/befriendedBy").await.ids(), [3]);
    assert_eq!(world.get("/user/2/befriendedBy").await.ids(), [1]);
    assert_eq!(world.get("/user/3/friends").await.ids(), [1]);
    world.delete("/user/1").await.ok();
    assert_eq!(world.get("/user/3/friends").await.ids(), [0; 0]);
}

async fn two_associations_lead_to_one_entity(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    let body = json!({"name": "Rex", "owner": ann, "vet": bob});
    assert_eq!(world.post("/pet", body).await.ok()["vet"], bob);
    assert_eq!(world.get("/user/1/pets").await.ids(), [1]);
    assert_eq!(world.get("/user/1/patients").await.ids(), [0; 0]);
    assert_eq!(world.get("/user/2/patients").await.ids(), [1]);
    world.delete("/user/2/patients/1").await.ok();
    let rex = world.get("/pet/1?populate=owner,vet").await;
    assert_eq!((&rex.ok()["owner"]["name"], &rex.ok()["vet"]), (&json!("Ann"), &json!(null)));
}

async fn a_key_to_nothing_is_refused(world: World) {
    let refused = world.post("/pet", json!({"name": "Rex", "owner": 4242})).await;
    refused.refused("E_INVALID_NEW_RECORD");
    assert_eq!(refused.body["details"], "`owner`: there is no such user");
    world.pet("Rex", None).await;
    world.patch("/pet/1", json!({"owner": 4242})).await.refused("E_INVALID_VALUES_TO_SET");
    assert_eq!(world.get("/pet").await.ids().len(), 1);
}

async fn the_end_of_a_record_releases_what_led_to_it(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", Some(ann)).await;
    world.toy("ball").await;
    world.put("/pet/1/toys/1").await.ok();
    world.delete("/user/1").await.ok();
    assert!(world.get("/pet/1").await.ok()["owner"].is_null());
    world.delete("/toy/1").await.ok();
    assert_eq!(world.get("/pet/1/toys").await.ids(), [0; 0]);
    world.put("/pet/1/toys/1").await.is_missing();
    world.delete("/pet/1").await.ok();
}

async fn end_of_a_record_asks_more_records_than_a_page_has(world: World) {
    world.user("Ann").await;
    world.toy("ball").await;
    let numbers = (0..2010).map(|number| format!("('pet {number}', false, 1)")).collect::<Vec<_>>().join(", ");
    world.run(&format!("insert into pet (name, private, owner_id) values {numbers}")).await;
    world.run("insert into pet_toy (pet_id, toy_id) select id, 1 from pet").await;
    let last = world.get("/pet?sort=id%20DESC&limit=1").await.ids();
    // The last one is another's, and private: user 7 may write all others.
    world.run(&format!("update pet set private = true where id = {}", last[0])).await;
    for target in ["/toy/1", "/user/1"] {
        assert_eq!(world.ask("DELETE", target, Some(7), None).await.status, 403, "{target}");
    }
    assert_eq!(world.get("/user/1/pets?limit=1000").await.ids().len(), 1000);
    world.run("update pet set private = false").await;
    for target in ["/toy/1", "/user/1"] {
        world.ask("DELETE", target, Some(7), None).await.ok();
    }
    assert_eq!(world.get("/pet?owner=").await.ids().len(), 30);
    assert_eq!(world.get(&format!("/pet/{}", last[0])).await.ok()["owner"], json!(null));
}
