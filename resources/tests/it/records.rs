//! Single records: made, shown, changed, removed.

use serde_json::{Value as Json, json};

use crate::world::{Answer, World};

on_each_database! {
    a_record_lives
    the_end_of_a_record_may_name_it_elsewhere
    put_changes_as_patch_does
    unknown_and_foreign_fields_are_refused
    values_are_validated
    null_differs_from_absent
    unique_values_are_told_by_name
    a_missing_record_is_not_found
    a_body_that_is_no_record_is_refused
    a_key_may_be_text_that_the_client_makes
    an_enum_of_the_database_is_one_on_the_wire
    what_others_cannot_do_without_stays
}

fn ann() -> Json {
    json!({"name": "Ann", "email": "ann@example.org", "password": "s3cret"})
}

async fn a_record_lives(world: World) {
    let made = world.post("/user", ann()).await;
    let whole = json!({
        "id": 1, "name": "Ann", "email": "ann@example.org", "age": null, "boss": null, "isAdmin": false, "motto": null
    });
    assert_eq!(made.ok(), &whole);
    assert_eq!(world.get("/user/1").await.ok(), &whole);
    let changed = world.patch("/user/1", json!({"age": 30})).await;
    assert_eq!(changed.ok()["age"], 30);
    assert_eq!(changed.ok()["name"], "Ann");
    let gone = world.delete("/user/1").await;
    assert_eq!(gone.ok(), changed.ok());
    world.get("/user/1").await.is_missing();
    assert_eq!(world.get("/user").await.ok(), &json!([]));
}

async fn put_changes_as_patch_does(world: World) {
    world.post("/user", ann()).await.ok();
    let changed = world.ask("PUT", "/user/1", None, Some(json!({"age": 30}))).await;
    assert_eq!((&changed.ok()["age"], &changed.ok()["name"]), (&json!(30), &json!("Ann")));
    // A client sends the identity back with the rest.
    assert_eq!(world.patch("/user/1", json!({"id": 7, "age": 31})).await.ok()["id"], 1);
    assert_eq!(world.patch("/user/1", json!({})).await.ok()["age"], 31);
}

async fn unknown_and_foreign_fields_are_refused(world: World) {
    for (field, value) in [("isAdmin", json!(true)), ("nobody", json!(1)), ("id", json!(7)), ("bossId", json!(1))] {
        let mut body = ann();
        body[field] = value;
        let answer = world.post("/user", body).await;
        answer.refused("E_INVALID_NEW_RECORD");
        let details = answer.body["details"].as_str().unwrap();
        assert!(details.contains(&format!("unknown field `{field}`")) && details.contains("`email`"), "{details}");
    }
    world.post("/user", ann()).await.ok();
    for body in [json!({"isAdmin": true}), json!({"password": "other"})] {
        world.patch("/user/1", body).await.refused("E_INVALID_VALUES_TO_SET");
    }
    assert_eq!(world.get("/user/1").await.ok()["isAdmin"], false);
}

async fn values_are_validated(world: World) {
    let answer =
        world.post("/user", json!({"name": "", "email": "ann", "password": "s3cret", "age": 200, "boss": 0})).await;
    answer.refused("E_INVALID_NEW_RECORD");
    let fields: Vec<_> = answer.body["problems"].as_array().unwrap().iter().map(|it| it["field"].clone()).collect();
    assert_eq!(fields, ["age", "boss", "email", "name"]);
    assert!(answer.body["message"].as_str().unwrap().contains("`POST /user`"), "{answer:?}");

    world.post("/user", ann()).await.ok();
    for body in
        [json!({"age": 200}), json!({"name": ""}), json!({"name": null}), json!({"name": 5}), json!({"age": 1e30})]
    {
        world.patch("/user/1", body).await.refused("E_INVALID_VALUES_TO_SET");
    }
    world.patch("/user/1", json!({"motto": "a\u{0}b"})).await.refused("E_INVALID_VALUES_TO_SET");
}

async fn null_differs_from_absent(world: World) {
    world.post("/user", ann()).await.ok();
    world.patch("/user/1", json!({"age": 30, "motto": "on"})).await.ok();
    let changed = world.patch("/user/1", json!({"age": null})).await;
    assert_eq!((&changed.ok()["age"], &changed.ok()["motto"]), (&Json::Null, &json!("on")));
}

async fn unique_values_are_told_by_name(world: World) {
    world.post("/user", ann()).await.ok();
    let again = world.post("/user", ann()).await;
    let told = json!({
        "code": "E_UNIQUE",
        "message": "Would violate uniqueness constraint-- a record already exists with conflicting value(s).",
        "modelIdentity": "user",
        "attrNames": ["email"],
    });
    assert_eq!((again.status, &again.body), (400, &told));
    let bob = world.user("Bob").await;
    world.patch(&format!("/user/{bob}"), json!({"email": "ann@example.org"})).await.refused("E_UNIQUE");
    assert_eq!(world.get(&format!("/user/{bob}")).await.ok()["email"], "bob@example.org");
}

async fn a_missing_record_is_not_found(world: World) {
    world.get("/user/7").await.is_missing();
    world.patch("/user/7", json!({"age": 1})).await.is_missing();
    world.delete("/user/7").await.is_missing();
    world.get("/user/7/pets").await.is_missing();
    world.put("/user/7/pets/1").await.is_missing();
    world.delete("/user/7/pets/1").await.is_missing();
    world.ask("PUT", "/user/7/pets", None, Some(json!([]))).await.is_missing();
    for (method, target) in
        [("PATCH", "/user/x"), ("DELETE", "/user/x"), ("GET", "/user/x/pets"), ("PUT", "/user/1/pets/x")]
    {
        world.ask(method, target, None, None).await.refused("E_INVALID_CRITERIA");
    }
}

async fn a_body_that_is_no_record_is_refused(world: World) {
    for body in [json!([]), json!("Ann"), json!(5)] {
        world.post("/toy", body).await.refused("E_INVALID_NEW_RECORD");
    }
    world.post("/toy", Json::Null).await.refused("E_INVALID_NEW_RECORD");
    let send = async |kind: &str, body: &'static str| {
        let request = axum::http::Request::post("/toy").header("content-type", kind);
        world.send(request.body(body.into()).unwrap()).await
    };
    send("application/json", "{").await.refused("E_INVALID_NEW_RECORD");
    assert_eq!(send("text/plain", r#"{"label": "ball"}"#).await.status, 415);
    send("application/vnd.api+json; charset=utf-8", r#"{"label": "ball"}"#).await.ok();
}

/// Makes a note of Ann's, who is user 1.
async fn note(world: &World, id: &str, mood: Json) -> Answer {
    world.ask("POST", "/note", Some(1), Some(json!({"id": id, "text": "hello", "user": 1, "mood": mood}))).await
}

async fn a_key_may_be_text_that_the_client_makes(world: World) {
    world.user("Ann").await;
    let whole = json!({"id": "a b/c", "text": "hello", "user": 1, "mood": null});
    assert_eq!(note(&world, "a b/c", Json::Null).await.ok(), &whole);
    assert_eq!(world.ask("GET", "/note/a%20b%2fc?populate=user", Some(1), None).await.ok()["user"]["name"], "Ann");
    let again = note(&world, "a b/c", Json::Null).await;
    assert_eq!((again.body["code"].as_str(), &again.body["attrNames"]), (Some("E_UNIQUE"), &json!(["id"])));
    let missing = world.ask("POST", "/note", Some(1), Some(json!({"text": "hello", "user": 1}))).await;
    missing.refused("E_INVALID_NEW_RECORD");
    world.ask("DELETE", "/note/a%20b%2fc", Some(1), None).await.ok();
}

async fn an_enum_of_the_database_is_one_on_the_wire(world: World) {
    world.user("Ann").await;
    assert_eq!(note(&world, "a", json!("good")).await.ok()["mood"], "good");
    note(&world, "b", json!("bad")).await.ok();
    note(&world, "c", Json::Null).await.ok();
    note(&world, "d", json!("odd")).await.refused("E_INVALID_NEW_RECORD");
    let ids = async |target: &str| {
        let list = world.ask("GET", target, Some(1), None).await;
        list.ok().as_array().unwrap().iter().map(|note| note["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/note?mood=good").await, ["a"]);
    assert_eq!(ids("/note?mood=good&mood=bad&sort=id%20DESC").await, ["b", "a"]);
    assert_eq!(ids("/note?where=%7B%22mood%22:null%7D").await, ["c"]);
    assert_eq!(ids("/user/1/notes?mood=bad").await, ["b"]);
    world.ask("GET", "/note?mood=odd", Some(1), None).await.refused("E_INVALID_CRITERIA");
    let changed = world.ask("PATCH", "/note/a", Some(1), Some(json!({"mood": "bad"}))).await;
    assert_eq!(changed.ok()["mood"], "bad");
    assert_eq!(world.ask("PATCH", "/note/a", Some(1), Some(json!({"mood": null}))).await.ok()["mood"], json!(null));
}

async fn what_others_cannot_do_without_stays(world: World) {
    world.user("Ann").await;
    note(&world, "a", Json::Null).await.ok();
    world.delete("/user/1").await.refused("E_FOREIGN_KEY");
    world.get("/user/1").await.ok();
    world.ask("DELETE", "/user/1/notes/a", Some(1), None).await.refused("E_INVALID_VALUES_TO_SET");
    world.ask("DELETE", "/note/a", Some(1), None).await.ok();
    world.delete("/user/1").await.ok();
}

async fn the_end_of_a_record_may_name_it_elsewhere(world: World) {
    for label in ["ball", "bone", "stick"] {
        world.toy(label).await;
    }
    assert_eq!(world.delete("/toy?id=2").await.ok()["label"], "bone");
    assert_eq!(world.ask("DELETE", "/toy", None, Some(json!({"id": 3}))).await.ok()["label"], "stick");
    world.delete("/toy?id=2").await.is_missing();
    for (target, body) in
        [("/toy", None), ("/toy?id=x", None), ("/toy?label=ball", None), ("/toy", Some(json!({"id": null})))]
    {
        world.ask("DELETE", target, None, body).await.refused("E_INVALID_CRITERIA");
    }
    world.ask("DELETE", "/toy", None, Some(json!([1]))).await.refused("E_INVALID_CRITERIA");
    assert_eq!(world.get("/toy").await.ids(), [1]);
}
