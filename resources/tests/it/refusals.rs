//! Each refusal of a database, caused on each database, and the answer that it becomes.

use std::time::Duration;

use axum::{body::Body, http::Request};
use catamaran::{App, routes};
use catamaran_resources::Resources;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend, TransactionTrait};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::world::{Answer, World, query};

on_each_database! {
    unique_violation_names_the_columns
    restricted_delete_names_the_association
    check_violation_names_the_field
    null_in_a_column_without_null_names_the_field
    too_long_text_is_a_bad_request
    trigger_that_raises_is_a_bad_request
    json_column_is_not_compared_on_postgres
    exhausted_pool_is_503
}

#[allow(dead_code, unreachable_pub)]
mod account {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/account", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "account")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub email: String,
        /// The table says `not null`.
        pub name: Option<String>,
        #[sea_orm(column_name = "area")]
        pub region: i32,
        pub number: i32,
        pub age: Option<i32>,
        #[field(default = "".into())]
        pub code: String,
        pub settings: Option<Json>,
        #[sea_orm(has_many)]
        pub profiles: HasMany<super::profile::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[allow(dead_code, unreachable_pub)]
mod profile {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/profile", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "profile")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub account_id: i64,
        #[sea_orm(belongs_to, from = "account_id", to = "id")]
        pub account: BelongsTo<super::account::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tables as a migration writes them, with a trigger that refuses the name `forbidden`.
async fn tables(world: World) -> World {
    let backend = world.resources.db().get_database_backend();
    let id = match backend {
        DbBackend::Postgres => "bigserial primary key",
        DbBackend::MySql => "bigint primary key auto_increment",
        _ => "integer primary key autoincrement",
    };
    world
        .run(&format!(
            "create table account (
                id {id}, email varchar(40) not null unique, name varchar(40) not null, area int not null,
                number int not null, age int, code varchar(5) not null, settings json,
                constraint old_enough check (age >= 0), constraint one_number unique (area, number)
            )"
        ))
        .await;
    let key = "foreign key (account_id) references account (id) on delete restrict";
    world.run(&format!("create table profile (id {id}, account_id bigint not null unique, {key})")).await;
    world
        .run(match backend {
            DbBackend::Postgres => {
                "create function refuse() returns trigger language plpgsql as $$ begin
                     if new.name = 'forbidden' then raise 'it is s3cret'; end if; return new;
                 end $$;
                 create trigger refuse before insert or update on account for each row execute function refuse()"
            }
            DbBackend::MySql => {
                "create trigger refuse before insert on account for each row if new.name = 'forbidden' then
                     signal sqlstate '45000' set message_text = 'it is s3cret'; end if"
            }
            _ => {
                "create trigger refuse before insert on account when new.name = 'forbidden'
                 begin select raise(abort, 'it is s3cret'); end"
            }
        })
        .await;
    let app = App::new(world.resources.clone()).mount(routes![account, profile]);
    world.with(app)
}

fn account(number: i32, with: Json) -> Json {
    let mut account = json!({"email": format!("{number}@x"), "name": "Ann", "region": 1, "number": number});
    if let (Json::Object(account), Json::Object(with)) = (&mut account, with) {
        account.extend(with);
    }
    account
}

async fn unique_violation_names_the_columns(world: World) {
    let world = tables(world).await;
    world.post("/account", account(1, json!({}))).await.ok();
    world.post("/account", account(2, json!({}))).await.ok();
    world.post("/profile", json!({"account": 1})).await.ok();
    let names = |answer: Answer| {
        answer.refused("E_UNIQUE");
        answer.body["attrNames"].clone()
    };
    assert_eq!(names(world.post("/account", account(3, json!({"email": "1@x"}))).await), json!(["email"]));
    assert_eq!(names(world.patch("/account/2", json!({"email": "1@x"})).await), json!(["email"]));
    let same_place = account(3, json!({"number": 1}));
    assert_eq!(names(world.post("/account", same_place).await), json!(["region", "number"]));
    assert_eq!(names(world.post("/profile", json!({"account": 1})).await), json!(["account"]));
}

async fn restricted_delete_names_the_association(world: World) {
    let world = tables(world).await;
    world.post("/account", account(1, json!({}))).await.ok();
    world.post("/profile", json!({"account": 1})).await.ok();
    let refused = world.delete("/account/1").await;
    refused.refused("E_FOREIGN_KEY");
    assert!(refused.body["details"].as_str().expect("words").contains("`profiles`"), "{refused:?}");
    world.delete("/profile/1").await.ok();
    world.delete("/account/1").await.ok();
}

/// Asserts that a write is refused, and by which field or constraint.
#[track_caller]
fn blames(answer: &Answer, code: &str, name: &str) {
    answer.refused(code);
    assert!(answer.body["details"].as_str().expect("words").contains(&format!("`{name}`")), "{answer:?}");
}

async fn check_violation_names_the_field(world: World) {
    let world = tables(world).await;
    world.post("/account", account(1, json!({}))).await.ok();
    // SQLite and MySQL name the constraint alone, and PostgreSQL knows its columns.
    let name = match world.resources.db().get_database_backend() {
        DbBackend::Postgres => "age",
        _ => "old_enough",
    };
    blames(&world.post("/account", account(2, json!({"age": -1}))).await, "E_INVALID_NEW_RECORD", name);
    blames(&world.patch("/account/1", json!({"age": -1})).await, "E_INVALID_VALUES_TO_SET", name);
}

async fn null_in_a_column_without_null_names_the_field(world: World) {
    let world = tables(world).await;
    world.post("/account", account(1, json!({}))).await.ok();
    blames(&world.post("/account", account(2, json!({"name": null}))).await, "E_INVALID_NEW_RECORD", "name");
    blames(&world.patch("/account/1", json!({"name": null})).await, "E_INVALID_VALUES_TO_SET", "name");
}

async fn too_long_text_is_a_bad_request(world: World) {
    let world = tables(world).await;
    let answer = world.post("/account", account(1, json!({"code": "123456"}))).await;
    match world.resources.db().get_database_backend() {
        // It has no lengths.
        DbBackend::Sqlite => drop(answer.ok()),
        DbBackend::MySql => blames(&answer, "E_INVALID_NEW_RECORD", "code"),
        _ => {
            answer.refused("E_INVALID_NEW_RECORD");
            assert_eq!(answer.body["details"], "a value is too long for its column");
        }
    }
}

async fn trigger_that_raises_is_a_bad_request(world: World) {
    let world = tables(world).await;
    // `World::send` sees that the words of the trigger are not sent.
    let answer = world.post("/account", account(1, json!({"name": "forbidden"}))).await;
    answer.refused("E_INVALID_NEW_RECORD");
    assert_eq!(answer.body["details"], "a rule of the database refuses these values");
}

async fn json_column_is_not_compared_on_postgres(world: World) {
    let world = tables(world).await;
    world.post("/account", account(1, json!({"settings": {"a": 1}}))).await.ok();
    let filter = query("/account", [("where", r#"{"settings": {"!=": "x"}}"#)]);
    for target in ["/account?sort=settings", &filter] {
        let answer = world.get(target).await;
        if world.resources.db().get_database_backend() == DbBackend::Postgres {
            blames(&answer, "E_INVALID_CRITERIA", "settings");
        } else {
            assert_eq!(answer.ids(), [1]);
        }
    }
    assert_eq!(world.get(&query("/account", [("where", r#"{"settings": {"!=": null}}"#)])).await.ids(), [1]);
}

/// Asserts that a request is answered with 503, and told when to try again.
async fn is_busy(world: &World, method: &str, target: &str, body: Json) {
    let request = Request::builder().method(method).uri(target).header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).expect("a request");
    let response = world.router.clone().oneshot(request).await.expect("a router answers");
    let retry_after = response.headers().get("retry-after").cloned();
    let bytes = axum::body::to_bytes(response.into_body(), 10_000).await;
    let body: Json = serde_json::from_slice(&bytes.expect("a body")).expect("JSON");
    assert_eq!(body["code"], "database_busy", "{body}");
    assert_eq!(retry_after.expect("a time").to_str().ok(), Some("1"));
}

async fn on(world: World, db: DatabaseConnection) -> World {
    let resources = Resources::new(db);
    let app = App::new(resources.clone()).mount(routes![account, profile]);
    let mut world = world.with(app);
    world.resources = resources;
    world
}

async fn exhausted_pool_is_503(world: World) {
    let world = tables(world).await;
    let mut options = ConnectOptions::new(&world.url);
    options.max_connections(1).acquire_timeout(Duration::from_millis(50));
    // A database in memory has but the one connection, and an empty one does.
    let world = on(world, Database::connect(options).await.expect("a database")).await;
    let held = world.resources.db().begin().await.expect("the only connection");
    is_busy(&world, "GET", "/account", json!({})).await;
    is_busy(&world, "POST", "/account", account(1, json!({}))).await;
    is_busy(&world, "DELETE", "/account/1", json!({})).await;
    held.rollback().await.expect("an end");
}

#[tokio::test]
async fn lock_of_another_process_is_503_on_sqlite() {
    let world = tables(World::file().await).await;
    let other = Database::connect(&world.url).await.expect("another connection");
    let mut options = ConnectOptions::new(&world.url);
    options.map_sqlx_sqlite_opts(|options| options.busy_timeout(Duration::from_millis(20)));
    let world = on(world, Database::connect(options).await.expect("a database")).await;
    let lock = other.begin().await.expect("a transaction");
    sea_orm::ConnectionTrait::execute_unprepared(&lock, "delete from profile").await.expect("the lock");
    is_busy(&world, "POST", "/account", account(1, json!({}))).await;
    lock.rollback().await.expect("an end");
    world.post("/account", account(1, json!({}))).await.ok();
}

#[cfg(feature = "backends")]
mod on_postgres {
    use sea_orm::{ConnectionTrait, Statement};

    use super::*;

    /// A world whose statements wait for a row that another program holds, with a limit to that.
    async fn is_busy_with(setting: &str) {
        let world = tables(World::postgres().await).await;
        world.post("/account", account(1, json!({}))).await.ok();
        let other = world.resources.db().begin().await.expect("a transaction");
        other.execute_unprepared("update account set age = 1").await.expect("a lock");
        let set = format!("execute format('alter database %I set {setting}', current_database());");
        world.run(&format!("do $do$ begin {set} end $do$")).await;
        let db = Database::connect(&world.url).await.expect("a database");
        let world = on(world, db).await;
        is_busy(&world, "PATCH", "/account/1", json!({"age": 2})).await;
        is_busy(&world, "DELETE", "/account/1", json!({})).await;
        other.rollback().await.expect("an end");
        world.patch("/account/1", json!({"age": 2})).await.ok();
    }

    #[tokio::test]
    async fn statement_timeout_is_503() {
        is_busy_with("statement_timeout = 50").await;
    }

    #[tokio::test]
    async fn lock_timeout_is_503() {
        is_busy_with("lock_timeout = 50").await;
    }

    #[tokio::test]
    async fn fifth_serialization_failure_is_503() {
        let world = tables(World::postgres().await).await;
        world
            .run(
                "create sequence attempts;
                 create function fail() returns trigger language plpgsql as $$ begin
                     perform nextval('attempts'); raise 'later' using errcode = '40001';
                 end $$;
                 create trigger fail before insert on account for each row execute function fail()",
            )
            .await;
        is_busy(&world, "POST", "/account", account(1, json!({}))).await;
        let db = world.resources.db();
        let attempts = Statement::from_string(db.get_database_backend(), "select last_value from attempts");
        let row = db.query_one_raw(attempts).await.expect("a sound statement").expect("a row");
        assert_eq!(row.try_get::<i64>("", "last_value").ok(), Some(5));
    }
}
