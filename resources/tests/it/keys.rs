//! Records that lead to themselves, keys of any type, and resources that cannot be told apart.

use catamaran::{App, routes};
use catamaran_resources::{Resource, Resources};
use serde_json::{Value as Json, json};

use crate::{socket::Socket, world::World};

on_each_database! {
    record_that_leads_to_itself_is_destroyed_once
    key_of_an_integer_newtype_is_made_by_the_database
}

async fn record_that_leads_to_itself_is_destroyed_once(world: World) {
    let (ann, bob) = (world.user("Ann").await, world.user("Bob").await);
    world.patch(&format!("/user/{ann}"), json!({"boss": ann})).await.ok();
    world.patch(&format!("/user/{bob}"), json!({"boss": ann})).await.ok();
    world.put(&format!("/user/{ann}/friends/{ann}")).await.ok();
    let mut page = Socket::connect(&world, 9).await;
    page.get("/user").await;
    world.delete(&format!("/user/{ann}")).await.ok();
    let told: Vec<_> = page.heard().await.iter().map(|event| json!([event[1]["verb"], event[1]["id"]])).collect();
    assert_eq!(told, [json!(["destroyed", ann]), json!(["updated", bob])]);
    assert_eq!(world.get(&format!("/user/{bob}")).await.ok()["boss"], Json::Null);
}

#[allow(dead_code, unreachable_pub)]
mod ticket {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, DeriveValueType, Serialize, Deserialize)]
    pub struct TicketId(pub i64);

    #[catamaran_resources::resource(path = "/ticket", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ticket")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: TicketId,
        pub name: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

async fn key_of_an_integer_newtype_is_made_by_the_database(world: World) {
    world.resources.sync(|schema| schema.register(ticket::Entity)).await.expect("the schema is sound");
    let app = App::new(world.resources.clone()).mount(routes![ticket]);
    let world = world.with(app);
    assert_eq!(world.post("/ticket", json!({"name": "a"})).await.ok(), &json!({"id": 1, "name": "a"}));
    assert_eq!(world.patch("/ticket/1", json!({"name": "b"})).await.ok()["name"], "b");
    assert_eq!(world.get("/ticket?id=1").await.ids(), [1]);
    world.delete("/ticket/1").await.ok();
}

/// A resource with a key of this type.
macro_rules! keyed {
    ($name:ident, $table:literal, $ty:ty $(, $($option:tt)*)?) => {
        #[allow(dead_code, unreachable_pub)]
        mod $name {
            use sea_orm::entity::prelude::*;

            #[catamaran_resources::resource(path = "/keyed", policy = catamaran_resources::Public)]
            #[sea_orm::model]
            #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
            #[sea_orm(table_name = $table $(, $($option)*)?)]
            pub struct Model {
                #[sea_orm(primary_key)]
                pub id: $ty,
            }

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

keyed!(bytes, "bytes", Vec<u8>);
keyed!(number, "decimal", f64);
keyed!(twin, "twin", i64);
keyed!(other_twin, "twin", i64, schema_name = "other");

#[test]
#[should_panic(expected = "the key `id` of `bytes` is")]
fn key_of_bytes_fails_at_start() {
    bytes::CONTROLLER::<Resources>();
}

#[test]
#[should_panic(expected = "the key `id` of `decimal` is no number")]
fn generated_key_that_is_no_integer_fails_at_start() {
    number::CONTROLLER::<Resources>();
}

#[test]
#[should_panic(expected = "are both the resource `twin`")]
fn two_resources_with_one_identity_fail_at_start() {
    twin::CONTROLLER::<Resources>();
    other_twin::CONTROLLER::<Resources>();
}

#[tokio::test]
async fn tables_of_one_name_in_two_schemas_have_no_triggers() {
    let resources = Resources::open("sqlite::memory:").await.expect("a database");
    let refused = resources.triggers([twin::Entity::meta(), other_twin::Entity::meta()]).await;
    let error = refused.expect_err("a refusal").to_string();
    assert!(error.contains("have one name"), "{error}");
}
