//! What is written behind the application's back is told as if it had come by a request.

use catamaran_resources::{Meta, Resource};
use sea_orm::{ConnectionTrait, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::{
    models::{note, pet, toy, user},
    other::Other,
    outbox::left,
    socket::Socket,
    world::World,
};

on_each_database_with_triggers! {
    what_another_program_writes_is_told
    what_another_program_undoes_is_not_told
    a_table_between_is_watched_too
    a_policy_hears_of_a_record_as_it_was_and_is
    link_that_ends_with_its_record_is_judged_by_it
    what_the_application_writes_is_told_once_and_not_to_who_asked
    an_outbox_without_triggers_is_refused_where_there_are_some
    what_no_resource_here_understands_waits_or_is_passed_over
    what_is_told_again_with_a_record_that_changed_since_is_heard_once
}

fn all() -> [&'static Meta; 4] {
    [user::Entity::meta(), pet::Entity::meta(), toy::Entity::meta(), note::Entity::meta()]
}

/// The next messages, each with the name of its event, in the order in which they came.
async fn next<const N: usize>(page: &mut Socket) -> [Json; N] {
    let mut messages = [const { Json::Null }; N];
    for message in &mut messages {
        *message = page.next().await;
    }
    messages
}

async fn what_another_program_writes_is_told(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    let world = world.with_triggers(all()).await;
    let mut page = Socket::connect(&world, ann).await;
    for list in ["/user", "/pet", "/note"] {
        page.get(list).await;
    }
    world.run(&format!("insert into pet (name, private, owner_id) values ('Rex', false, {ann})")).await;
    let rex = json!({"id": 1, "name": "Rex", "private": false, "owner": ann, "vet": null});
    let created = json!(["pet", {"verb": "created", "id": 1, "data": rex}]);
    assert_eq!(
        next(&mut page).await,
        [json!(["user", {"verb": "addedTo", "id": ann, "attribute": "pets", "addedId": 1}]), created]
    );

    world.run(&format!("update pet set name = 'O''Rex', owner_id = {bob}")).await;
    let updated =
        json!({"verb": "updated", "id": 1, "data": {"id": 1, "name": "O'Rex", "owner": bob}, "previous": rex});
    assert_eq!(
        next(&mut page).await,
        [
            json!(["user", {"verb": "removedFrom", "id": ann, "attribute": "pets", "removedId": 1}]),
            json!(["user", {"verb": "addedTo", "id": bob, "attribute": "pets", "addedId": 1}]),
            json!(["pet", updated]),
        ]
    );

    // It has another identity, so it is another record; what changes nothing is not told.
    world.run("update pet set name = name").await;
    world.run("update pet set owner_id = null, id = 7").await;
    let [destroyed, removed, created] = next(&mut page).await;
    assert_eq!((&destroyed[1]["verb"], &destroyed[1]["previous"]["name"]), (&json!("destroyed"), &json!("O'Rex")));
    assert_eq!((&removed[1]["verb"], &removed[1]["removedId"]), (&json!("removedFrom"), &json!(1)));
    assert_eq!((&created[1]["verb"], &created[1]["id"]), (&json!("created"), &json!(7)));

    // A column that is called otherwise than its field, and a type of the database's own.
    let text = "it says \\\"so\\\"\n";
    world.run(&format!("insert into note (id, body, mood, user_id) values ('n/1', '{text}', 'good', {ann})")).await;
    let note = json!({"id": "n/1", "text": text, "mood": "good", "user": ann});
    let [added, created] = next(&mut page).await;
    assert_eq!(added[1]["addedId"], "n/1");
    assert_eq!(created, json!(["note", {"verb": "created", "id": "n/1", "data": note}]));
    world.run("delete from note").await;
    assert_eq!(page.next().await, json!(["note", {"verb": "destroyed", "id": "n/1", "previous": note}]));
}

async fn what_another_program_undoes_is_not_told(world: World) {
    world.toy("ball").await;
    let world = world.with_triggers(all()).await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/toy").await;
    world.run("begin; update toy set label = 'lost'; insert into toy (label) values ('lost'); rollback").await;
    world.run("update toy set label = 'bone' where id = 1").await;
    let previous = json!({"id": 1, "label": "ball"});
    let data = json!({"id": 1, "label": "bone"});
    assert_eq!(page.next().await[1], json!({"verb": "updated", "id": 1, "data": data, "previous": previous}));
}

async fn a_table_between_is_watched_too(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    let (rex, ball) = (world.pet("Rex", None).await, world.toy("ball").await);
    let world = world.with_triggers(all()).await;
    let mut page = Socket::connect(&world, 1).await;
    for list in ["/user", "/pet", "/toy"] {
        page.get(list).await;
    }
    let member = |of: &str, verb: &str, id: i64, attribute: &str, (name, other): (&str, i64)| json!([of, {"verb": verb, "id": id, "attribute": attribute, name: other}]);
    world.run(&format!("insert into pet_toy (pet_id, toy_id) values ({rex}, {ball})")).await;
    let added = [
        member("pet", "addedTo", rex, "toys", ("addedId", ball)),
        member("toy", "addedTo", ball, "pets", ("addedId", rex)),
    ];
    assert_eq!(next(&mut page).await, added);
    world.run("delete from pet_toy").await;
    let removed = [
        member("pet", "removedFrom", rex, "toys", ("removedId", ball)),
        member("toy", "removedFrom", ball, "pets", ("removedId", rex)),
    ];
    assert_eq!(next(&mut page).await, removed);
    world.run(&format!("insert into friendship (one_id, other_id) values ({ann}, {bob})")).await;
    let friends = [
        member("user", "addedTo", ann, "friends", ("addedId", bob)),
        member("user", "addedTo", bob, "befriendedBy", ("addedId", ann)),
    ];
    assert_eq!(next(&mut page).await, friends);
}

async fn a_policy_hears_of_a_record_as_it_was_and_is(world: World) {
    let ann = world.user("Ann").await;
    world.pet("Rex", Some(ann)).await;
    let world = world.with_triggers(all()).await;
    let mut stranger = Socket::connect(&world, 9).await;
    stranger.get("/pet").await;
    for statement in ["update pet set private = true", "update pet set name = 'Max'", "update pet set private = false"]
    {
        world.run(statement).await;
    }
    let [gone, back] = next(&mut stranger).await;
    assert_eq!(gone, json!(["pet", {"verb": "destroyed", "id": 1}]));
    assert_eq!((&back[1]["verb"], &back[1]["data"]["name"]), (&json!("created"), &json!("Max")));
}

async fn link_that_ends_with_its_record_is_judged_by_it(world: World) {
    let ann = world.user("Ann").await;
    world.toy("ball").await;
    let pets = [("Secret", true), ("Rex", false)];
    for (name, private) in pets {
        let body = json!({"name": name, "private": private, "owner": ann, "toys": [1]});
        world.ask("POST", "/pet", Some(ann), Some(body)).await.ok();
    }
    let world = world.with_triggers(all()).await;
    let (mut owner, mut other) = (Socket::connect(&world, ann).await, Socket::connect(&world, 9).await);
    for page in [&mut owner, &mut other] {
        page.get("/toy").await;
    }
    for pet in [1, 2] {
        world.ask("DELETE", &format!("/pet/{pet}"), Some(ann), None).await.ok();
    }
    let removed = |pet: i64| json!(["toy", {"verb": "removedFrom", "id": 1, "attribute": "pets", "removedId": pet}]);
    assert_eq!(next(&mut owner).await, [removed(1), removed(2)]);
    assert_eq!(other.next().await, removed(2));
}

async fn what_the_application_writes_is_told_once_and_not_to_who_asked(world: World) {
    let world = world.with_triggers(all()).await;
    let mut ann = Socket::connect(&world, 1).await;
    let mut bob = Socket::connect(&world, 2).await;
    for socket in [&mut ann, &mut bob] {
        socket.get("/toy").await;
    }
    ann.ask("post", "/toy", json!({"label": "ball"})).await;
    ann.ask("patch", "/toy/1", json!({"label": "bone"})).await;
    // What comes after is of nobody's request again.
    world.run("update toy set label = 'stick'").await;
    world.patch("/toy/1", json!({"label": "stone"})).await.ok();
    let labels =
        |messages: &[Json]| messages.iter().map(|message| message[1]["data"]["label"].clone()).collect::<Vec<_>>();
    assert_eq!(labels(&next::<4>(&mut bob).await), ["ball", "bone", "stick", "stone"]);
    assert_eq!(labels(&next::<2>(&mut ann).await), ["stick", "stone"]);
}

async fn an_outbox_without_triggers_is_refused_where_there_are_some(world: World) {
    let world = world.with_triggers(all()).await;
    let refused = world.resources.clone().outbox().await.expect_err("there are triggers");
    assert!(refused.to_string().contains("has triggers"), "{refused}");
    // Once more, as the next server does.
    world.with_triggers(all()).await;
}

async fn what_no_resource_here_understands_waits_or_is_passed_over(world: World) {
    // A server of the next version knows pets, too.
    let all = [toy::Entity::meta(), pet::Entity::meta()];
    let (_, relay) = world.resources.clone().triggers(all).await.expect("triggers");
    drop(relay);
    let world = world.with_triggers([toy::Entity::meta()]).await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/toy").await;
    world.run("insert into pet (name, private) values ('Rex', false)").await;
    for nonsense in ["{", "[null]", r#"[null, {"id": "x"}]"#, r#"[null, {"id": ["text", "x"]}]"#, "[null, {}]"] {
        let row = format!("insert into catamaran_outbox (changed_table, message) values ('toy', '{nonsense}')");
        world.run(&row).await;
    }
    world.run("insert into toy (label) values ('ball')").await;
    assert_eq!(page.next().await[1]["data"]["label"], "ball");
    while left(&world).await > 1 {
        tokio::task::yield_now().await;
    }
    // The pet is told by the relay that knows it.
    assert_eq!(left(&world).await, 1);
    let world = world.with_triggers(all).await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/pet").await;
    while left(&world).await > 0 {
        tokio::task::yield_now().await;
    }
}

/// As if a relay were killed between telling and removing, while somebody changes the record that the news are of.
async fn what_is_told_again_with_a_record_that_changed_since_is_heard_once(world: World) {
    let ann = world.user("Ann").await;
    let world = world.with_triggers(all()).await;
    world.forbid_removing().await;
    let mut page = Socket::connect(&world, ann).await;
    for list in ["/user", "/pet"] {
        page.get(list).await;
    }
    world.run(&format!("insert into pet (name, private, owner_id) values ('Rex', false, {ann})")).await;
    let mut verbs = next::<2>(&mut page).await.map(|message| message[1]["verb"].clone()).to_vec();
    // The first row is told again before this one is, with the user as it is now.
    world.run("update \"user\" set name = 'Anna'").await;
    verbs.push(page.next().await[1]["verb"].clone());
    world.allow_removing().await;
    while left(&world).await > 0 {
        tokio::task::yield_now().await;
    }
    world.run("delete from pet").await;
    verbs.push(page.next().await[1]["verb"].clone());
    assert_eq!(verbs, ["addedTo", "created", "updated", "destroyed"]);
}

/// A program in production makes no tables: a migration has done it, by the same call.
#[cfg(feature = "backends")]
#[tokio::test]
async fn a_role_that_owns_nothing_uses_the_triggers_that_are_there() {
    let world = World::postgres().await;
    // The migration tells nobody.
    drop(world.resources.clone().triggers(all()).await.expect("triggers"));
    world
        .run(
            "create role app login; grant select, insert, update, delete on all tables in schema public to app;
             grant usage on all sequences in schema public to app; create role other login;
             grant insert on toy to other; grant usage on sequence toy_id_seq to other",
        )
        .await;
    let app = World::of(&world.url.replace("//postgres@", "//app@")).await.with_triggers(all()).await;
    let mut page = Socket::connect(&app, 1).await;
    page.get("/toy").await;
    app.toy("ball").await;
    // Another program may write toys, and nothing else; and has its own idea of where tables are.
    let other = World::of(&world.url.replace("//postgres@", "//other@")).await;
    other.run("set search_path to pg_catalog; insert into public.toy (label) values ('bone')").await;
    let labels = next::<2>(&mut page).await.map(|message| message[1]["data"]["label"].clone());
    assert_eq!(labels, ["ball", "bone"]);
}

const RECORDS: i64 = 8;
const WRITERS: i64 = 10;

mod of_another_process {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_it_commits_is_told_in_order_on_a_file() {
        super::what_it_commits_is_told_in_order(crate::world::World::file().await).await;
    }

    #[cfg(feature = "backends")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_it_commits_is_told_in_order_on_postgres() {
        super::what_it_commits_is_told_in_order(crate::world::World::postgres().await).await;
    }
}

async fn what_it_commits_is_told_in_order(world: World) {
    for _ in 0..RECORDS {
        world.toy("0").await;
    }
    let world = world.with_triggers(all()).await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/toy").await;
    let mut other = Other::start("triggers::a_program_that_is_to_be_killed", &world.url);
    page.hears_until(other.has_written(300)).await;
    other.kill();
    page.hears_each_label_once(&world, vec![json!("0"); 8]).await;
}

/// It knows nothing of the outbox. Each of its transactions writes two records, and one of ten is undone.
#[test]
#[ignore = "a process of the tests above"]
fn a_program_that_is_to_be_killed() {
    crate::other::run(async |url| {
        let db = sea_orm::Database::connect(url).await.expect("the database is there");
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let db = db.clone();
            writers.spawn(async move {
                for number in 1.. {
                    // Two writers may be in each other's way.
                    if write(&db, writer, number).await.is_ok() {
                        println!("wrote");
                    }
                }
            });
        }
        writers.join_all().await;
    });
}

async fn write(db: &sea_orm::DatabaseConnection, writer: i64, number: i64) -> Result<(), DbErr> {
    let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
    let options = TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
    let transaction = db.begin_with_options(options).await?;
    let first = (writer + number) % (RECORDS - 1) + 1;
    for record in [first, first + 1] {
        let statement = format!("update toy set label = '{writer}/{number}' where id = {record}");
        transaction.execute_unprepared(&statement).await?;
        tokio::task::yield_now().await;
    }
    if number % 10 == 0 { transaction.rollback().await } else { transaction.commit().await }
}
