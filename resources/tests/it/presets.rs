//! Values that the server says: by the viewer, and by itself.

use std::sync::atomic::{AtomicI64, Ordering};

use axum::Json as Body;
use catamaran::{App, action, routes};
use catamaran_resources::{Compat, Record, Records};
use serde_json::{Value as Json, json};

use crate::{
    socket::Socket,
    world::{Answer, World},
};

on_each_database! {
    create_takes_values_of_the_viewer
    requests_say_no_preset
    update_takes_values_of_the_viewer
    preset_key_is_made_by_the_server
    presets_hold_in_association_writes
    presets_are_in_change_messages
    presets_hold_in_actions
    foreign_viewer_is_refused_before_a_preset
}

/// A clock that never stands still.
fn tick() -> i64 {
    static TICKS: AtomicI64 = AtomicI64::new(1);
    TICKS.fetch_add(1, Ordering::Relaxed)
}

pub mod task {
    use catamaran_resources::{Policy, Write};
    use sea_orm::{Condition, entity::prelude::*};

    use super::tick;
    use crate::models::Login;

    #[catamaran_resources::resource(path = "/task", policy = OwnTasks)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "task")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[field(create = viewer.user)]
        pub owner_id: i64,
        #[sea_orm(belongs_to, from = "owner_id", to = "id")]
        pub owner: BelongsTo<super::person::Entity>,
        #[field(create = tick(), update = tick())]
        pub changed: i64,
        #[field(update = Some(viewer.user))]
        pub changed_by: Option<i64>,
        pub shelf_id: Option<i64>,
        #[sea_orm(belongs_to, from = "shelf_id", to = "id")]
        pub shelf: BelongsTo<Option<super::shelf::Entity>>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// Everybody with a login reads tasks, and the owner writes them; user 3 may write all.
    pub struct OwnTasks;

    impl Policy<Entity> for OwnTasks {
        type Viewer = Login;

        fn scope(_: &Login) -> Condition {
            Condition::all()
        }

        fn can_read(_: &Login, _: &Model) -> bool {
            true
        }

        fn can_write(login: &Login, write: Write<'_, Model>) -> bool {
            login.user == 3 || write.records().all(|task| task.owner_id == login.user)
        }
    }
}

pub mod person {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/person", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "person")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub tasks: HasMany<super::task::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod shelf {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/shelf", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "shelf")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub label: String,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub tasks: HasMany<super::task::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod slip {
    use sea_orm::entity::prelude::*;

    use super::tick;

    #[catamaran_resources::resource(path = "/slip", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "slip")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        #[field(create = format!("slip-{}", tick()))]
        pub id: String,
        pub text: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[action(post "/task/by-hand")]
async fn by_hand(
    tasks: Records<task::Entity>,
    Body(new): Body<task::Create>,
) -> catamaran::Result<Record<task::Entity>> {
    tasks
        .transaction(async |tx| {
            let made = tx.create(&new).await?;
            tx.update(made.id, &task::Patch { name: Some("by hand".into()), ..Default::default() }).await
        })
        .await
}

/// With three persons.
async fn tasks(world: World, compat: Compat) -> World {
    let resources = world.resources.clone().compat(compat);
    let schema = resources.sync(|schema| {
        let schema = schema.register(person::Entity).register(shelf::Entity);
        schema.register(task::Entity).register(slip::Entity)
    });
    schema.await.expect("the schema is sound");
    let world = world.with(App::new(resources).mount(routes![by_hand, person, shelf, task, slip]));
    for name in ["Ann", "Bob", "Cem"] {
        world.post("/person", json!({"name": name})).await.ok();
    }
    world
}

async fn send(world: &World, user: i64, method: &str, target: &str, body: Json) -> Answer {
    world.ask(method, target, Some(user), Some(body)).await
}

async fn task(world: &World) -> Json {
    world.ask("GET", "/task/1", Some(1), None).await.ok().clone()
}

/// Whether the task was changed by this user since it was as given.
#[track_caller]
fn is_changed(before: &Json, after: &Json, user: i64) {
    assert!(after["changed"].as_i64() > before["changed"].as_i64(), "{before} {after}");
    assert_eq!((&after["changedBy"], &after["owner"]), (&json!(user), &before["owner"]), "{after}");
}

async fn create_takes_values_of_the_viewer(world: World) {
    let world = tasks(world, Compat::Strict).await;
    for user in [2, 1] {
        let made = send(&world, user, "POST", "/task", json!({"name": "wash"})).await;
        assert_eq!((&made.ok()["owner"], &made.ok()["changedBy"]), (&json!(user), &Json::Null));
        assert!(made.ok()["changed"].as_i64() > Some(0), "{made:?}");
        let id = &made.ok()["id"];
        assert_eq!(world.ask("GET", &format!("/task/{id}"), Some(1), None).await, made);
    }
}

async fn requests_say_no_preset(world: World) {
    let world = tasks(world, Compat::Strict).await;
    send(&world, 1, "POST", "/task", json!({"name": "wash"})).await.ok();
    let before = task(&world).await;
    for field in ["owner", "changed", "changedBy"] {
        let details = |answer: Answer| answer.body["details"].as_str().unwrap_or_default().to_owned();
        let said = json!({"name": "iron", field: 2});
        let made = send(&world, 1, "POST", "/task", said.clone()).await;
        made.refused("E_INVALID_NEW_RECORD");
        assert!(details(made).contains(&format!("unknown field `{field}`")));
        let changed = send(&world, 1, "PATCH", "/task/1", said).await;
        changed.refused("E_INVALID_VALUES_TO_SET");
        assert!(details(changed).contains(&format!("unknown field `{field}`")));
    }
    // Nor does an association: its key is the server's.
    assert_eq!(send(&world, 3, "PUT", "/person/2/tasks/1", Json::Null).await.status, 403);
    assert_eq!(task(&world).await, before);
    // Sails drops what it does not know.
    let world = tasks_of_sails(world).await;
    let made = send(&world, 1, "POST", "/task", json!({"name": "iron", "owner": 2, "changed": 0})).await;
    assert_eq!(made.ok()["owner"]["id"], 1, "{made:?}");
    let changed = send(&world, 1, "PATCH", "/task/1", json!({"name": "iron", "owner": 2, "changed": 0})).await;
    assert!(changed.ok()["changed"].as_i64() > before["changed"].as_i64(), "{changed:?}");
}

async fn tasks_of_sails(world: World) -> World {
    let resources = world.resources.clone().compat(Compat::Sails);
    world.with(App::new(resources).mount(routes![person, shelf, task]))
}

async fn update_takes_values_of_the_viewer(world: World) {
    let world = tasks(world, Compat::Strict).await;
    send(&world, 1, "POST", "/task", json!({"name": "wash"})).await.ok();
    let before = task(&world).await;
    send(&world, 3, "PATCH", "/task/1", json!({"name": "iron"})).await.ok();
    is_changed(&before, &task(&world).await, 3);
    let before = task(&world).await;
    // What changes nothing is no change, and neither is what is refused.
    send(&world, 1, "PATCH", "/task/1", json!({})).await.ok();
    assert_eq!(send(&world, 2, "PATCH", "/task/1", json!({"name": "mine"})).await.status, 403);
    assert_eq!(task(&world).await, before);
}

async fn preset_key_is_made_by_the_server(world: World) {
    let world = tasks(world, Compat::Strict).await;
    let made = world.post("/slip", json!({"text": "a"})).await;
    let id = made.ok()["id"].as_str().expect("a text").to_owned();
    assert!(id.starts_with("slip-"), "{id}");
    assert_eq!(world.get(&format!("/slip/{id}")).await, made);
    world.post("/slip", json!({"id": "mine", "text": "a"})).await.refused("E_INVALID_NEW_RECORD");
    assert_eq!(world.patch(&format!("/slip/{id}"), json!({"text": "b"})).await.ok(), &json!({"id": id, "text": "b"}));
}

async fn presets_hold_in_association_writes(world: World) {
    let world = tasks(world, Compat::Strict).await;
    send(&world, 1, "POST", "/task", json!({"name": "wash"})).await.ok();
    let shelf = json!({"label": "left"});
    send(&world, 1, "POST", "/shelf", shelf.clone()).await.ok();
    for (user, method, target, body, on) in [
        (1, "PUT", "/shelf/1/tasks/1", Json::Null, json!(1)),
        (3, "DELETE", "/shelf/1/tasks/1", Json::Null, Json::Null),
        (1, "PATCH", "/shelf/1", json!({"tasks": [1]}), json!(1)),
        (3, "POST", "/shelf", json!({"label": "right", "tasks": [1]}), json!(2)),
        (1, "PUT", "/shelf/1/tasks", json!([1]), json!(1)),
        // The end of the shelf changes what stood there.
        (3, "DELETE", "/shelf/1", Json::Null, Json::Null),
    ] {
        let before = task(&world).await;
        send(&world, user, method, target, body).await.ok();
        let after = task(&world).await;
        is_changed(&before, &after, user);
        assert_eq!(after["shelf"], on, "{method} {target}");
    }
    let before = task(&world).await;
    assert_eq!(send(&world, 2, "PUT", "/shelf/2/tasks/1", Json::Null).await.status, 403);
    assert_eq!(task(&world).await, before);
}

async fn presets_are_in_change_messages(world: World) {
    let world = tasks(world, Compat::Strict).await;
    let mut socket = Socket::connect(&world, 2).await;
    socket.get("/task").await;
    socket.get("/person").await;
    let made = send(&world, 1, "POST", "/task", json!({"name": "wash"})).await;
    send(&world, 3, "PATCH", "/task/1", json!({"name": "iron"})).await.ok();
    let now = task(&world).await;
    let heard = socket.heard().await;
    let of =
        |name: &str| heard.iter().filter(|event| event[0] == name).map(|event| event[1].clone()).collect::<Vec<_>>();
    let [created, updated] = &of("task")[..] else { panic!("{heard:?}") };
    assert_eq!((&created["verb"], &created["data"]), (&json!("created"), made.ok()));
    let data = json!({"id": 1, "name": "iron", "changed": now["changed"], "changedBy": 3});
    assert_eq!((&updated["verb"], &updated["data"], &updated["previous"]), (&json!("updated"), &data, made.ok()));
    let added = json!({"verb": "addedTo", "id": 1, "attribute": "tasks", "addedId": 1});
    assert_eq!(of("person"), [added]);
}

async fn presets_hold_in_actions(world: World) {
    let world = tasks(world, Compat::Strict).await;
    let made = send(&world, 2, "POST", "/task/by-hand", json!({"name": "wash", "shelf": null})).await;
    assert_eq!((&made.ok()["owner"], &made.ok()["changedBy"]), (&json!(2), &json!(2)), "{made:?}");
    let said = send(&world, 2, "POST", "/task/by-hand", json!({"name": "wash", "owner": 1})).await;
    assert_eq!(said.status, 422, "{said:?}");
}

async fn foreign_viewer_is_refused_before_a_preset(world: World) {
    let world = tasks(world, Compat::Strict).await;
    send(&world, 1, "POST", "/task", json!({"name": "wash", "shelf": null})).await.ok();
    world.post("/shelf", json!({"label": "left"})).await.ok();
    let before = task(&world).await;
    for (method, target, body) in [
        ("POST", "/task", json!({"name": "wash"})),
        ("PATCH", "/task/1", json!({"name": "iron"})),
        ("PUT", "/shelf/1/tasks/1", Json::Null),
    ] {
        assert_eq!(world.ask(method, target, None, Some(body)).await.status, 401, "{method} {target}");
    }
    assert_eq!(task(&world).await, before);
}
