//! Each write asks the policy of every record that it changes: the product of verbs, associations, directions and bodies.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{Request, request::Parts},
};
use catamaran::{App, routes};
use catamaran_resources::{Policy, Write};
use sea_orm::{Condition, EntityTrait};
use serde_json::{Value as Json, json};

use crate::world::{Answer, World};

/// The records that the viewer may not write: the header `denied` names them, `owner 1,tag 2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denied(BTreeSet<String>);

impl<S: Sync> FromRequestParts<S> for Denied {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get("denied").and_then(|value| value.to_str().ok());
        Ok(Self(header.unwrap_or_default().split(',').map(str::to_owned).collect()))
    }
}

/// Everybody reads everything, and writes all but the denied records.
pub struct AllBut;

macro_rules! all_but_denied {
    ($($entity:ident)*) => {$(
        impl Policy<$entity::Entity> for AllBut {
            type Viewer = Denied;

            fn scope(_: &Denied) -> Condition {
                Condition::all()
            }

            fn can_read(_: &Denied, _: &$entity::Model) -> bool {
                true
            }

            fn can_write(denied: &Denied, write: Write<'_, $entity::Model>) -> bool {
                write.records().all(|record| !denied.0.contains(&format!("{} {}", stringify!($entity), record.id)))
            }
        }
    )*};
}

all_but_denied! { owner item tag }

pub mod owner {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/owner", policy = super::AllBut)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "owner")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub items: HasMany<super::item::Entity>,
        /// Tags know nothing of it.
        #[sea_orm(has_many, via = "owner_tag")]
        #[field(writable)]
        pub marks: HasMany<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod item {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/item", policy = super::AllBut)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "item")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        pub owner_id: Option<i64>,
        #[sea_orm(belongs_to, from = "owner_id", to = "id")]
        pub owner: BelongsTo<Option<super::owner::Entity>>,
        #[sea_orm(has_many, via = "item_tag")]
        #[field(writable)]
        pub tags: HasMany<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod tag {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/tag", policy = super::AllBut)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many, via = "item_tag")]
        #[field(writable)]
        pub items: HasMany<super::item::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod item_tag {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "item_tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub item_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag_id: i64,
        #[sea_orm(belongs_to, from = "item_id", to = "id")]
        pub item: BelongsTo<super::item::Entity>,
        #[sea_orm(belongs_to, from = "tag_id", to = "id")]
        pub tag: BelongsTo<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod owner_tag {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "owner_tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub owner_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag_id: i64,
        #[sea_orm(belongs_to, from = "owner_id", to = "id")]
        pub owner: BelongsTo<super::owner::Entity>,
        #[sea_orm(belongs_to, from = "tag_id", to = "id")]
        pub tag: BelongsTo<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A request, and the records that it names: their policies are asked even if nothing changes.
struct Ask {
    method: &'static str,
    target: String,
    body: Option<Json>,
    named: Vec<String>,
}

/// All verbs, by all associations, in both directions, with and without lists of members in the body.
fn requests() -> Vec<Ask> {
    let mut all = Vec::new();
    let mut ask = |method, target: String, body: Option<Json>, named: &[String]| {
        all.push(Ask { method, target, body, named: named.to_vec() });
    };
    for (parent, association, child, is_between) in [
        ("owner", "items", "item", false),
        ("owner", "marks", "tag", true),
        ("item", "tags", "tag", true),
        ("tag", "items", "item", true),
    ] {
        for (one, other) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let mut named = vec![format!("{parent} {one}")];
            named.extend(is_between.then(|| format!("{child} {other}")));
            for method in ["PUT", "DELETE"] {
                ask(method, format!("/{parent}/{one}/{association}/{other}"), None, &named);
            }
        }
        for list in [json!([]), json!([1]), json!([2]), json!([1, 2])] {
            let named = [format!("{parent} 1")];
            ask("PUT", format!("/{parent}/1/{association}"), Some(list.clone()), &[]);
            ask("PATCH", format!("/{parent}/1"), Some(json!({association: list})), &named);
            ask("PATCH", format!("/{parent}/1"), Some(json!({"name": "new", association: list})), &named);
            ask("POST", format!("/{parent}"), Some(json!({"name": "new", association: list})), &[]);
        }
    }
    for model in ["owner", "item", "tag"] {
        let one = [format!("{model} 1")];
        ask("POST", format!("/{model}"), Some(json!({"name": "new"})), &[]);
        for body in [json!({"name": "new"}), json!({})] {
            ask("PATCH", format!("/{model}/1"), Some(body.clone()), &one);
            ask("PUT", format!("/{model}/1"), Some(body), &one);
        }
        ask("DELETE", format!("/{model}/1"), None, &one);
        ask("DELETE", format!("/{model}?id=2"), None, &[]);
    }
    for owner in [json!(null), json!(1), json!(2)] {
        ask("POST", "/item".into(), Some(json!({"name": "new", "owner": owner})), &[]);
        ask("PATCH", "/item/1".into(), Some(json!({"owner": owner})), &["item 1".into()]);
    }
    all
}

/// What is in the database.
#[derive(Debug, PartialEq)]
struct Records {
    /// By their names, `owner 1`.
    rows: BTreeMap<String, String>,
    /// Items and the owners that their keys lead to.
    owners: BTreeMap<i64, Option<i64>>,
    /// Pairs that tables between join, by the names of both.
    links: BTreeSet<(String, String)>,
}

async fn records(world: &World) -> Records {
    let db = world.resources.db();
    let owners = owner::Entity::find().all(db).await.expect("owners");
    let items = item::Entity::find().all(db).await.expect("items");
    let tags = tag::Entity::find().all(db).await.expect("tags");
    let item_tags = item_tag::Entity::find().all(db).await.expect("tags of items");
    let owner_tags = owner_tag::Entity::find().all(db).await.expect("tags of owners");
    let rows = (owners.iter().map(|it| (format!("owner {}", it.id), format!("{it:?}"))))
        .chain(items.iter().map(|it| (format!("item {}", it.id), format!("{it:?}"))))
        .chain(tags.iter().map(|it| (format!("tag {}", it.id), format!("{it:?}"))));
    let links = (item_tags.iter().map(|it| (format!("item {}", it.item_id), format!("tag {}", it.tag_id))))
        .chain(owner_tags.iter().map(|it| (format!("owner {}", it.owner_id), format!("tag {}", it.tag_id))));
    Records {
        rows: rows.collect(),
        owners: items.iter().map(|it| (it.id, it.owner_id)).collect(),
        links: links.collect(),
    }
}

/// The records that a request changed. A link has two ends; a key is a column of its record, unless the request comes by
/// the other end.
fn changed(ask: &Ask, before: &Records, after: &Records) -> BTreeSet<String> {
    let mut changed: BTreeSet<String> = ask.named.iter().cloned().collect();
    let names = before.rows.keys().chain(after.rows.keys());
    changed.extend(names.filter(|name| before.rows.get(*name) != after.rows.get(*name)).cloned());
    for (one, other) in before.links.symmetric_difference(&after.links) {
        changed.extend([one.clone(), other.clone()]);
    }
    if ask.target.starts_with("/owner") {
        for (item, owner) in &before.owners {
            let now = after.owners.get(item).copied().flatten();
            if *owner != now {
                changed.extend([*owner, now].into_iter().flatten().map(|owner| format!("owner {owner}")));
            }
        }
    }
    changed
}

/// Owners 1 and 2 with an item each, an item of nobody, and two tags.
async fn fill(world: &World) {
    let statements =
        "delete from item_tag; delete from owner_tag; delete from item; delete from owner; delete from tag;
        delete from sqlite_sequence;
        insert into owner (id, name) values (1, 'a'), (2, 'b');
        insert into item (id, name, owner_id) values (1, 'a', 1), (2, 'b', 2), (3, 'c', null);
        insert into tag (id, name) values (1, 'a'), (2, 'b');
        insert into item_tag (item_id, tag_id) values (1, 1), (2, 2);
        insert into owner_tag (owner_id, tag_id) values (1, 1)";
    world.run(statements).await;
}

async fn send(world: &World, ask: &Ask, denied: &str) -> Answer {
    let mut request = Request::builder().method(ask.method).uri(&ask.target).header("denied", denied);
    if ask.body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = ask.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
    world.send(request.body(body).expect("a request")).await
}

#[tokio::test]
async fn write_is_allowed_iff_every_changed_record_allows() {
    let world = World::memory().await;
    let tables = world.resources.sync(|schema| {
        let schema = schema.register(owner::Entity).register(item::Entity).register(tag::Entity);
        schema.register(item_tag::Entity).register(owner_tag::Entity)
    });
    tables.await.expect("the schema is sound");
    let app = App::new(world.resources.clone()).mount(routes![owner, item, tag]);
    let world = world.with(app);
    let everything = [("owner", 3), ("item", 4), ("tag", 3)];
    let everything: Vec<String> =
        everything.iter().flat_map(|(model, last)| (1..=*last).map(move |id| format!("{model} {id}"))).collect();
    let mut refusals = 0;
    for ask in requests() {
        let what = format!("{} {} {:?}", ask.method, ask.target, ask.body);
        fill(&world).await;
        let before = records(&world).await;
        let answer = send(&world, &ask, "").await;
        if answer.body["code"] == "E_FOREIGN_KEY" {
            // Owners know of tags, and tags not of owners: the key is the database's to keep.
            assert_eq!((what.as_str(), records(&world).await), ("DELETE /tag/1 None", before));
            continue;
        }
        answer.ok();
        let changed = changed(&ask, &before, &records(&world).await);
        fill(&world).await;
        for denied in &everything {
            let answer = send(&world, &ask, denied).await;
            let expected = if changed.contains(denied) { 403 } else { 200 };
            assert_eq!(answer.status, expected, "{what}, denied is {denied}: {answer:?}, changed are {changed:?}");
            if expected == 403 {
                assert_eq!(records(&world).await, before, "{what}, denied is {denied}");
                refusals += 1;
            } else {
                fill(&world).await;
            }
        }
    }
    // The product is not empty by accident.
    assert!(refusals > 200, "{refusals}");
}
