//! As Sails has it.

use serde_json::json;

use crate::world::World;

on_each_database! {
    everything_is_populated
    unknown_fields_are_dropped
    select_wins_over_omit
    members_that_are_not_there_are_dropped
    what_needs_a_login_is_left_out_unless_it_is_asked_for
}

async fn everything_is_populated(world: World) {
    let world = world.like_sails();
    world.user("Ann").await;
    let rex = world.post("/pet", json!({"name": "Rex", "owner": 1})).await;
    assert_eq!((&rex.ok()["owner"]["name"], &rex.ok()["toys"]), (&json!("Ann"), &json!([])));
    let ann = world.get("/user/1").await;
    assert_eq!((&ann.ok()["pets"][0]["name"], &ann.ok()["boss"]), (&json!("Rex"), &json!(null)));
    assert_eq!(world.get("/user").await.ok()[0], *ann.ok());
    assert_eq!(world.patch("/pet/1", json!({"name": "Max"})).await.ok()["owner"]["name"], "Ann");
    assert_eq!(world.put("/user/1/patients/1").await.ok()["pets"][0]["vet"], 1);
    assert_eq!(world.get("/user/1?populate=false").await.ok().get("pets"), None);
    assert!(world.get("/user/1?populate=pets").await.ok().get("staff").is_none());
    assert_eq!(world.get("/user/1/pets").await.ok()[0]["owner"], 1);
    assert_eq!(world.delete("/pet/1").await.ok()["owner"]["name"], "Ann");
}

async fn unknown_fields_are_dropped(world: World) {
    let world = world.like_sails();
    let body = json!({"name": "Ann", "email": "a@x", "password": "s3cret", "isAdmin": true, "nobody": 1, "id": 9});
    let ann = world.post("/user", body).await;
    assert_eq!((&ann.ok()["id"], &ann.ok()["isAdmin"]), (&json!(1), &json!(false)));
    assert_eq!(world.patch("/user/1", json!({"isAdmin": true, "age": 3})).await.ok()["isAdmin"], false);
}

async fn select_wins_over_omit(world: World) {
    let world = world.like_sails();
    world.toy("ball").await;
    let list = world.get("/toy?select=id&omit=id&populate=false").await;
    assert_eq!(list.ok(), &json!([{"id": 1}]));
}

async fn what_needs_a_login_is_left_out_unless_it_is_asked_for(world: World) {
    let world = world.like_sails();
    world.user("Ann").await;
    assert_eq!(world.get("/user/1").await.ok().get("notes"), None);
    assert_eq!(world.ask("GET", "/user/1", Some(1), None).await.ok()["notes"], json!([]));
    assert_eq!(world.get("/user/1?populate=notes").await.status, 401);
}

async fn members_that_are_not_there_are_dropped(world: World) {
    let world = world.like_sails();
    world.pet("Rex", None).await;
    let toy = world.post("/toy", json!({"label": "ball", "pets": [1, 9]})).await;
    assert_eq!(toy.ok()["pets"][0]["id"], 1);
    let replaced = world.ask("PUT", "/toy/1/pets", None, Some(json!([9]))).await;
    assert_eq!(replaced.ok()["pets"], json!([]));
}
