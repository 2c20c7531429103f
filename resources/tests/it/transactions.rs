//! Actions that are written by hand beside resources.

use std::{future::poll_fn, sync::Arc, task::Poll};

use axum::{
    Json as Body, Router,
    body::{Body as Content, to_bytes},
    http::{Request, StatusCode},
    routing::get,
};
use catamaran::{App, Error, Result, action, routes};
use catamaran_resources::{Record, Records};
#[cfg(feature = "backends")]
use sea_orm::ConnectionTrait;
use sea_orm::{ActiveModelTrait, EntityTrait, PaginatorTrait, Set};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::{
    models::{note, pet, pet_toy, toy, user},
    socket::Socket,
    world::World,
};

on_each_database! {
    what_a_transaction_wrote_is_told_after_it
    what_a_transaction_undid_is_told_to_nobody
    an_error_is_the_answer_of_the_resource
    a_call_that_is_refused_is_undone_alone
    who_writes_by_hand_follows_what_was_written
    the_end_of_a_record_is_told_as_well
    who_is_not_let_in_writes_nothing
}

/// A user with a pet.
#[derive(Deserialize)]
struct Household {
    user: user::Create,
    pet: String,
    private: bool,
    toy: Option<i64>,
}

/// Makes all of a household at once, or nothing of it.
#[action(post "/household")]
async fn found(
    users: Records<user::Entity>,
    pets: Records<pet::Entity>,
    Body(new): Body<Household>,
) -> Result<Body<Json>> {
    let made = users.transaction(async |tx| {
        let owner = tx.create(&new.user).await?;
        let name = new.pet.clone();
        let pet = pet::Create { name, private: new.private, owner_id: Some(owner.id), vet_id: None };
        let pet = tx.on(&pets).create(&pet).await?;
        if let Some(toy) = new.toy {
            pet_toy::ActiveModel { pet_id: Set(pet.id), toy_id: Set(toy) }.insert(tx.db()).await?;
        }
        if pet::Entity::find().count(tx.db()).await? > 1 {
            return Err(Error::new(StatusCode::CONFLICT, "one pet is enough"));
        }
        Ok((owner, pet))
    });
    let (owner, pet) = made.await?;
    Ok(Body(json!({"password": owner.password.len(), "user": owner, "pet": pet})))
}

/// Renames a pet.
#[action(post "/pet/{id}/name")]
async fn rename(id: i64, pets: Records<pet::Entity>, Body(name): Body<String>) -> Result<Record<pet::Entity>> {
    let patch = pet::Patch { name: Some(name), ..pet::Patch::default() };
    pets.transaction(async |tx| tx.update(id, &patch).await).await
}

/// Makes the pets whose names are good.
#[action(post "/pets")]
async fn all(pets: Records<pet::Entity>, Body(names): Body<Vec<String>>) -> Result<Body<Vec<i64>>> {
    let made = pets.transaction(async |tx| {
        let mut made = Vec::new();
        for name in &names {
            let pet = pet::Create { name: name.clone(), private: name == "Secret", owner_id: None, vet_id: None };
            if let Ok(pet) = tx.create(&pet).await {
                made.push(pet.id);
            }
        }
        Ok(made)
    });
    Ok(Body(made.await?))
}

/// Gives a toy the label of another, and that the label of the first.
#[action(post "/toy/{one}/swap/{other}")]
async fn swap(one: i64, other: i64, toys: Records<toy::Entity>) -> Result {
    let swapped = toys.transaction(async |tx| {
        let mut labels = Vec::new();
        for id in [one, other] {
            let toy = tx.update(id, &toy::Patch::default()).await?;
            labels.push(toy.label.clone());
        }
        for (id, label) in [other, one].into_iter().zip(labels) {
            tx.update(id, &toy::Patch { label: Some(label) }).await?;
        }
        Ok(())
    });
    swapped.await
}

/// The end of a toy, and of a note.
#[action(delete "/toy/{id}/note/{note}")]
async fn clear(
    id: i64,
    note: String,
    toys: Records<toy::Entity>,
    notes: Records<note::Entity>,
) -> Result<Record<toy::Entity>> {
    let ended = toys.transaction(async |tx| {
        tx.on(&notes).destroy(note.clone()).await?;
        tx.destroy(id).await
    });
    ended.await
}

fn with_actions(world: World) -> World {
    let app = App::new(world.resources.clone());
    let app = app.mount(routes![user, pet, toy, note, found, rename, all, swap, clear]);
    world.with(app)
}

fn household(pet: &str, private: bool, toy: Option<i64>) -> Json {
    let user = json!({"name": "Ann", "email": "ann@example.org", "password": "s3cret"});
    json!({"user": user, "pet": pet, "private": private, "toy": toy})
}

async fn page(world: &World, user: i64) -> Socket {
    let mut page = Socket::connect(world, user).await;
    for list in ["/user", "/pet", "/toy"] {
        page.get(list).await;
    }
    page
}

/// What a page was told, shortly: `pet created 1`.
fn shortly(events: &[Json]) -> Vec<String> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| format!("{} {} {}", text(&event[0]), text(&event[1]["verb"]), event[1]["id"])).collect()
}

async fn what_a_transaction_wrote_is_told_after_it(world: World) {
    let world = with_actions(world);
    world.toy("ball").await;
    let (mut ann, mut bob) = (page(&world, 1).await, page(&world, 2).await);
    let (status, made) = ann.ask("post", "/household", household("Rex", false, Some(1))).await;
    let rex = json!({"id": 1, "name": "Rex", "private": false, "owner": 1, "vet": null});
    assert_eq!((status, &made["password"], &made["pet"], &made["user"]["name"]), (200, &json!(6), &rex, &json!("Ann")));
    assert_eq!(made["user"].get("password"), None);
    assert_eq!(shortly(&bob.heard().await), ["user created 1", "user addedTo 1", "pet created 1"]);
    assert_eq!(ann.heard().await, [json!(null); 0]);
    assert_eq!(world.get("/pet/1/toys").await.ids(), [1]);
}

async fn what_a_transaction_undid_is_told_to_nobody(world: World) {
    let world = with_actions(world);
    world.pet("Tom", None).await;
    let mut page = page(&world, 2).await;
    let refused = world.ask("POST", "/household", None, Some(household("Rex", false, None))).await;
    assert_eq!((refused.status, refused.body), (409, json!({"message": "one pet is enough"})));
    let refused = world.ask("POST", "/household", None, Some(household("Rex", false, Some(9)))).await;
    assert_eq!((refused.status, refused.body), (500, json!({"message": "Internal Server Error"})));
    assert_eq!(page.heard().await, [json!(null); 0]);
    assert_eq!(world.get("/user").await.ids(), [0; 0]);
    assert_eq!(world.get("/pet").await.ids(), [1]);
}

async fn an_error_is_the_answer_of_the_resource(world: World) {
    let world = with_actions(world);
    let found =
        async |pet, private, user| world.ask("POST", "/household", user, Some(household(pet, private, None))).await;
    let answer = found("", false, None).await;
    answer.refused("E_INVALID_NEW_RECORD");
    assert_eq!(answer.body["problems"][0]["field"], "name");
    assert!(answer.body["message"].as_str().expect("a message").contains("`POST /household`"), "{answer:?}");
    let answer = found("Rex", true, Some(7)).await;
    assert_eq!((answer.status, answer.body), (403, json!("Forbidden")));
    assert_eq!(world.get("/user").await.ids(), [0; 0]);

    let rex = world.pet("Rex", None).await;
    let rename = async |id, user, name| world.ask("POST", &format!("/pet/{id}/name"), user, Some(json!(name))).await;
    rename(9, None, "Max").await.is_missing();
    rename(rex, None, "").await.refused("E_INVALID_VALUES_TO_SET");
    assert_eq!(rename(rex, Some(0), "Max").await.status, 403);
    assert_eq!(world.get(&format!("/pet/{rex}")).await.ok()["name"], "Rex");
    assert_eq!(rename(rex, None, "Max").await.ok()["name"], "Max");

    world.user("Ann").await;
    let answer = found("Tom", false, None).await;
    answer.refused("E_UNIQUE");
    assert_eq!(answer.body["attrNames"], json!(["email"]));
}

async fn a_call_that_is_refused_is_undone_alone(world: World) {
    let world = with_actions(world);
    let mut page = page(&world, 2).await;
    // The second is stored before the policy refuses it: nobody could see it.
    let made = world.ask("POST", "/pets", None, Some(json!(["Rex", "Secret", "", "Max"]))).await;
    let [first, second] = &made.ok().as_array().expect("a list")[..] else { panic!("{made:?}") };
    assert_eq!(pet::Entity::find().count(world.resources.db()).await.expect("a count"), 2);
    let told = page.heard().await;
    assert_eq!(told.iter().map(|event| &event[1]["id"]).collect::<Vec<_>>(), [first, second]);
}

async fn who_writes_by_hand_follows_what_was_written(world: World) {
    let world = with_actions(world);
    let mut ann = Socket::connect(&world, 1).await;
    assert_eq!(ann.ask("post", "/household", household("Rex", false, None)).await.0, 200);
    let tom = world.pet("Tom", None).await;
    assert_eq!(ann.ask("post", &format!("/pet/{tom}/name"), json!("Max")).await.0, 200);
    world.patch("/user/1", json!({"age": 30})).await.ok();
    world.patch("/pet/1", json!({"name": "Ada"})).await.ok();
    world.patch(&format!("/pet/{tom}"), json!({"name": "Ada"})).await.ok();
    assert_eq!(shortly(&ann.heard().await), ["user updated 1", "pet updated 1", &format!("pet updated {tom}")]);
}

async fn the_end_of_a_record_is_told_as_well(world: World) {
    let world = with_actions(world);
    world.user("Ann").await;
    world.toy("ball").await;
    let mut page = page(&world, 1).await;
    world.ask("DELETE", "/toy/1/note/a", Some(1), None).await.is_missing();
    world.ask("POST", "/note", Some(1), Some(json!({"id": "a", "text": "hello", "user": 1}))).await.ok();
    assert_eq!(world.ask("DELETE", "/toy/1/note/a", Some(1), None).await.ok(), &json!({"id": 1, "label": "ball"}));
    assert_eq!(shortly(&page.heard().await), ["user addedTo 1", "user removedFrom 1", "toy destroyed 1"]);
    world.ask("GET", "/note/a", Some(1), None).await.is_missing();
}

async fn who_is_not_let_in_writes_nothing(world: World) {
    let world = with_actions(world);
    world.toy("ball").await;
    let answer = world.ask("DELETE", "/toy/1/note/a", None, None).await;
    assert_eq!((answer.status, answer.body), (401, json!("log in first")));
    assert_eq!(world.get("/toy").await.ids(), [1]);
}

mod in_a_file {
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn transactions_that_cross_wait_for_each_other() {
        super::transactions_that_cross_wait_for_each_other(crate::world::World::file().await).await;
    }

    #[tokio::test]
    async fn a_request_that_is_cut_off_is_told_of_if_it_is_stored() {
        super::a_request_that_is_cut_off_is_told_of_if_it_is_stored(crate::world::World::file().await).await;
    }
}

#[cfg(feature = "backends")]
mod in_postgres {
    #[tokio::test]
    async fn who_met_another_process_may_ask_again() {
        super::who_met_another_process_may_ask_again(crate::world::World::postgres().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn transactions_that_cross_wait_for_each_other() {
        super::transactions_that_cross_wait_for_each_other(crate::world::World::postgres().await).await;
    }
}

/// Swaps in both directions at once would be a deadlock of a database that locks records.
async fn transactions_that_cross_wait_for_each_other(world: World) {
    const SWAPS: usize = 20;
    let world = Arc::new(with_actions(world));
    for label in ["0", "1", "2"] {
        world.toy(label).await;
    }
    let mut page = page(&world, 1).await;
    let mut writers = JoinSet::new();
    for (one, other) in [(1, 2), (2, 1), (2, 3), (3, 2), (1, 3), (3, 1)] {
        let world = world.clone();
        writers.spawn(async move {
            for _ in 0..SWAPS {
                let answer = world.ask("POST", &format!("/toy/{one}/swap/{other}"), None, None).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }
    writers.join_all().await;
    let mut labels = ["0", "1", "2"].map(|label| json!(label));
    for event in page.heard().await {
        let toy = usize::try_from(event[1]["id"].as_u64().expect("a toy") - 1).expect("small");
        assert_eq!(event[1]["previous"]["label"], labels[toy], "{event}");
        if let Some(label) = event[1]["data"].get("label") {
            labels[toy] = label.clone();
        }
    }
    let toys = world.get("/toy").await;
    let stored: Vec<_> = toys.ok().as_array().expect("a list").iter().map(|toy| toy["label"].clone()).collect();
    assert_eq!(stored, labels);
    labels.sort_by_key(Json::to_string);
    assert_eq!(labels, ["0", "1", "2"].map(|label| json!(label)));
}

/// Fails as two transactions do that are in each other's way.
#[cfg(feature = "backends")]
#[action(post "/deadlock")]
async fn deadlock(toys: Records<toy::Entity>) -> Result {
    let met = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$";
    toys.transaction(async |tx| Ok(tx.db().execute_unprepared(met).await.map(drop)?)).await
}

#[cfg(feature = "backends")]
async fn who_met_another_process_may_ask_again(world: World) {
    let app = App::new(world.resources.clone()).mount(routes![deadlock]);
    let answer = world.with(app).ask("POST", "/deadlock", None, None).await;
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("database_busy")));
}

/// Cuts a request off at each of its steps.
async fn a_request_that_is_cut_off_is_told_of_if_it_is_stored(world: World) {
    let world = with_actions(world);
    let mut page = page(&world, 1).await;
    let mut whole = 0;
    for steps in 0.. {
        let request = Request::post("/pets").header("content-type", "application/json");
        let request = request.body(Content::from(r#"["Rex", "Max"]"#)).expect("a request");
        let mut answer = Box::pin(world.router.clone().oneshot(request));
        for _ in 0..steps {
            if poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_ready())).await {
                whole += 1;
                break;
            }
            tokio::task::yield_now().await;
        }
        if whole == 3 {
            break;
        }
    }
    // What is being committed has had its turn before this.
    world.pet("Last", None).await;
    let mut told = page.heard().await;
    let stored = usize::try_from(pet::Entity::find().count(world.resources.db()).await.expect("a count")).expect("few");
    while told.len() < stored {
        told.push(page.next().await);
    }
    assert_eq!(stored % 2, 1, "both or none");
    assert_eq!(told.len() + page.heard().await.len(), stored);
}

/// There the changes would be told to nobody.
#[tokio::test]
async fn records_outside_an_app_are_refused() {
    let resources = World::memory().await.resources;
    let router = Router::new().route("/", get(async |_: Records<toy::Entity>| {})).with_state(resources);
    let response = router.oneshot(Request::new(Content::empty())).await.expect("an answer");
    assert_eq!(response.status(), 500);
    let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
    assert!(body.starts_with(br#"{"code":"outside_app""#), "{body:?}");
}
