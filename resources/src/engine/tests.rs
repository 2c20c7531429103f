//! What a write changed, in the order of Sails, and how writes that meet are told in the order of their commits.

use std::sync::{Arc, Mutex};

use axum::http::Request;
use sea_orm::Value;
use serde_json::{Value as Json, json};

use super::{Change, Kind, Members, View, Work, write::Written};
use crate::{
    __private::Viewed,
    Meta, Resource, Resources, Row,
    body::{self, Purpose},
    criteria::Shape,
    policy::Viewers,
};

#[allow(unreachable_pub, dead_code)]
#[path = "../../tests/it/models.rs"]
mod models;

#[cfg(feature = "backends")]
#[path = "../../tests/it/postgres.rs"]
pub(crate) mod postgres;

use models::{friendship, note, pet, pet_toy, toy, user};

const USER: fn() -> &'static Meta = <user::Entity as Resource>::meta;
const PET: fn() -> &'static Meta = <pet::Entity as Resource>::meta;
const TOY: fn() -> &'static Meta = <toy::Entity as Resource>::meta;

async fn resources(url: &str) -> Resources {
    let resources = Resources::open(url).await.unwrap();
    let all = resources.sync(|schema| {
        let schema = schema.register(user::Entity).register(friendship::Entity).register(pet::Entity);
        schema.register(toy::Entity).register(pet_toy::Entity).register(note::Entity)
    });
    all.await.unwrap();
    resources
}

/// Everybody who asks in these tests is nobody.
async fn viewers() -> Viewers {
    let (mut parts, ()) = Request::new(()).into_parts();
    let mut viewers = Viewers::of_request(<user::Entity as Viewed<()>>::VIEWERS, &mut parts, &()).await;
    viewers.read::<models::Caller, ()>(&mut parts, &()).await;
    viewers
}

/// Writes for a request that waits for its answer.
async fn write(resources: &Resources, viewers: &Viewers, meta: &'static Meta, work: &Work) -> Written {
    let (mut request, _alive) = tokio::sync::oneshot::channel();
    super::write(resources, viewers, meta, work, None, &mut request).await.unwrap()
}

/// What a request of a user knows of who asks; one without a user has no login.
pub(crate) async fn viewers_of(user: Option<i64>) -> Viewers {
    let request = Request::builder();
    let request = match user {
        Some(user) => request.header("user", user),
        None => request,
    };
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    Viewers::of_request(<user::Entity as Viewed<()>>::VIEWERS, &mut parts, &()).await
}

/// User 1, and the note `a` of that user.
pub(crate) fn user_with_note() -> (Row, Row) {
    let user = json!({"id": 1, "name": "Ann", "email": "ann@example.org", "password": "s3cret", "is_admin": false});
    let note = json!({"id": "a", "body": "hello", "user_id": 1});
    let row = |meta: &'static Meta, columns: Json| meta.row_of(columns.as_object().unwrap().clone()).unwrap();
    (row(USER(), user), row(note::Entity::meta(), note))
}

fn parts(meta: &'static Meta, purpose: Purpose, body: &Json) -> body::Parts {
    let headers =
        [("content-type", "application/json")].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    body::read(meta, purpose, crate::Compat::Strict, &headers.into_iter().collect(), &body.to_string().into()).unwrap()
}

fn create(meta: &'static Meta, body: &Json) -> Work {
    let body::Parts { values, members } = parts(meta, Purpose::Create, body);
    Work::Create { values, members }
}

fn update(meta: &'static Meta, id: i64, body: &Json) -> Work {
    let body::Parts { values, members } = parts(meta, Purpose::Update, body);
    Work::Update { id: id.into(), values, members }
}

fn person(name: &str) -> Json {
    json!({"name": name, "email": format!("{name}@example.org"), "password": "s3cret"})
}

/// One line for each change: `user 1 +pets 2`.
fn told(change: &Change) -> String {
    let what = match &change.kind {
        Kind::Created => "created".to_owned(),
        Kind::Updated(fields) => format!("updated {}", fields.join(",")),
        Kind::Destroyed => "destroyed".to_owned(),
        Kind::AddedTo { attribute, child } => format!("+{attribute} {child}"),
        Kind::RemovedFrom { attribute, child } => format!("-{attribute} {child}"),
    };
    format!("{} {} {what}", change.meta.identity(), change.id)
}

async fn done(resources: &Resources, meta: &'static Meta, work: Work) -> Vec<String> {
    let written = write(resources, &viewers().await, meta, &work).await;
    written.changes.iter().map(told).collect()
}

/// Users 1, 2 and 3, of whom 1 owns the pets 1 and 2; a pet 3 of nobody; toys 1 and 2.
async fn world() -> Resources {
    let resources = resources("sqlite::memory:").await;
    for name in ["ann", "bob", "cy"] {
        done(&resources, USER(), create(USER(), &person(name))).await;
    }
    for owner in [json!(1), json!(1), Json::Null] {
        done(&resources, PET(), create(PET(), &json!({"name": "pet", "owner": owner}))).await;
    }
    for label in ["ball", "bone"] {
        done(&resources, TOY(), create(TOY(), &json!({"label": label}))).await;
    }
    resources
}

#[tokio::test]
async fn a_new_record_is_told_after_what_it_is_added_to() {
    let resources = world().await;
    let rex = create(PET(), &json!({"name": "Rex", "owner": 2, "vet": 1}));
    assert_eq!(done(&resources, PET(), rex).await, ["user 2 +pets 4", "user 1 +patients 4", "pet 4 created"]);
    let ball = create(TOY(), &json!({"label": "stick", "pets": [1, 2]}));
    assert_eq!(done(&resources, TOY(), ball).await, ["pet 1 +toys 3", "pet 2 +toys 3", "toy 3 created"]);
}

#[tokio::test]
async fn a_new_parent_is_told_between_its_children_and_those_that_lose_them() {
    let resources = world().await;
    let mut body = person("dee");
    body["pets"] = json!([1, 3]);
    assert_eq!(
        done(&resources, USER(), create(USER(), &body)).await,
        ["pet 1 updated owner", "pet 3 updated owner", "user 4 created", "user 1 -pets 1"]
    );
}

#[tokio::test]
async fn an_update_is_told_after_what_its_keys_mean_to_others() {
    let resources = world().await;
    assert_eq!(
        done(&resources, USER(), update(USER(), 1, &json!({"age": 3, "name": "ann"}))).await,
        ["user 1 updated age"]
    );
    assert_eq!(
        done(&resources, PET(), update(PET(), 1, &json!({"owner": 2}))).await,
        ["user 1 -pets 1", "user 2 +pets 1", "pet 1 updated owner"]
    );
    assert_eq!(
        done(&resources, USER(), update(USER(), 1, &json!({"pets": [3]}))).await,
        ["user 1 +pets 3", "pet 3 updated owner", "user 1 -pets 2", "pet 2 updated owner"]
    );
}

#[tokio::test]
async fn a_change_has_the_record_before_and_after() {
    let resources = world().await;
    let work = update(USER(), 1, &json!({"age": 3}));
    let written = write(&resources, &viewers().await, USER(), &work).await;
    let change = written.changes.iter().next().unwrap();
    let [before, after] =
        [&change.before, &change.after].map(|row| serde_json::to_value(row.as_ref().unwrap()).unwrap());
    assert_eq!((&before["age"], &after["age"]), (&json!(null), &json!(3)));
    assert!(before.get("password").or(after.get("password")).is_none());
}

#[tokio::test]
async fn a_member_is_told_to_the_parent_to_the_child_and_to_who_loses_it() {
    let resources = world().await;
    let pets = USER().association("pets").unwrap();
    let add = |id: i64, child: i64| Work::Add { id: id.into(), association: pets, child: child.into() };
    let remove = |id: i64, child: i64| Work::Remove { id: id.into(), association: pets, child: child.into() };
    assert_eq!(done(&resources, USER(), add(2, 1)).await, ["user 2 +pets 1", "pet 1 updated owner", "user 1 -pets 1"]);
    assert_eq!(done(&resources, USER(), add(2, 1)).await, [""; 0]);
    assert_eq!(done(&resources, USER(), remove(2, 1)).await, ["user 2 -pets 1", "pet 1 updated owner"]);
    assert_eq!(done(&resources, USER(), remove(2, 1)).await, [""; 0]);

    let toys = PET().association("toys").unwrap();
    let add = Work::Add { id: 1i64.into(), association: toys, child: 2i64.into() };
    assert_eq!(done(&resources, PET(), add).await, ["pet 1 +toys 2", "toy 2 +pets 1"]);
    let friends = USER().association("friends").unwrap();
    let add = Work::Add { id: 1i64.into(), association: friends, child: 2i64.into() };
    assert_eq!(done(&resources, USER(), add).await, ["user 1 +friends 2", "user 2 +befriendedBy 1"]);
}

#[tokio::test]
async fn a_replacement_tells_who_comes_before_who_goes() {
    let resources = world().await;
    let association = USER().association("pets").unwrap();
    let replace = |id: i64, ids: &[i64]| {
        let ids = ids.iter().map(|id| Value::from(*id)).collect();
        Work::Replace { id: id.into(), members: Members { association, ids } }
    };
    assert_eq!(
        done(&resources, USER(), replace(2, &[1, 3])).await,
        ["user 2 +pets 1", "pet 1 updated owner", "user 2 +pets 3", "pet 3 updated owner", "user 1 -pets 1"]
    );
    assert_eq!(done(&resources, USER(), replace(2, &[3])).await, ["user 2 -pets 1", "pet 1 updated owner"]);
}

#[tokio::test]
async fn the_end_of_a_record_is_told_before_what_it_means_to_others() {
    let resources = world().await;
    let toys = PET().association("toys").unwrap();
    done(&resources, PET(), Work::Add { id: 1i64.into(), association: toys, child: 2i64.into() }).await;
    assert_eq!(
        done(&resources, PET(), Work::Destroy { id: 1i64.into() }).await,
        ["pet 1 destroyed", "toy 2 -pets 1", "user 1 -pets 1"]
    );
    assert_eq!(
        done(&resources, USER(), Work::Destroy { id: 1i64.into() }).await,
        ["user 1 destroyed", "pet 2 updated owner"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_are_handed_on_in_the_order_of_their_commits() {
    let path = std::env::temp_dir().join(format!("catamaran-order-{}.db", std::process::id()));
    many_writers(&format!("sqlite://{}", path.display())).await;
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}

#[cfg(feature = "backends")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_are_handed_on_in_the_order_of_their_commits_by_postgres() {
    let database = postgres::Database::new().await;
    many_writers(&database.url).await;
}

/// Each writer hands on under its stripes what it did; whoever listens sees each record go from what it was before.
async fn many_writers(url: &str) {
    let resources = resources(url).await;
    for name in ["ann", "bob"] {
        done(&resources, USER(), create(USER(), &person(name))).await;
    }
    done(&resources, PET(), create(PET(), &json!({"name": "pet", "owner": 1}))).await;

    let heard = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (resources, heard) = (resources.clone(), heard.clone());
            tokio::spawn(async move {
                let pets = USER().association("pets").unwrap();
                for turn in 0..40 {
                    let (meta, work) = match (writer + turn) % 3 {
                        0 => (PET(), update(PET(), 1, &json!({"name": format!("{writer}.{turn}")}))),
                        1 => (USER(), Work::Add { id: (turn % 2 + 1).into(), association: pets, child: 1i64.into() }),
                        // It does not name the pet that it lets go.
                        _ => {
                            let members = Members { association: pets, ids: Vec::new() };
                            (USER(), Work::Replace { id: (turn % 2 + 1).into(), members })
                        }
                    };
                    let written = write(&resources, &viewers().await, meta, &work).await;
                    for change in written.changes.iter() {
                        tokio::task::yield_now().await;
                        heard.lock().unwrap().push(change.clone());
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut last = None;
    for change in heard.lock().unwrap().iter().filter(|change| change.meta.identity() == "pet") {
        let [before, after] =
            [&change.before, &change.after].map(|row| serde_json::to_value(row.as_ref().unwrap()).unwrap());
        assert_eq!(&before, last.as_ref().unwrap_or(&before));
        last = Some(after);
    }
    let viewers = viewers().await;
    let view = View { db: resources.db(), viewers: &viewers };
    let now = view.find_one(PET(), "1", &Shape::default()).await.unwrap();
    assert_eq!(serde_json::to_value(now).ok(), last);
}
