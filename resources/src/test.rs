//! What an application's tests ask of its policies.

use std::{collections::HashSet, fmt::Debug};

use sea_orm::QueryFilter;

use crate::{Policy, Resource, Resources, meta::Row, resource::ViewerOf};

/// Asserts that a policy's `scope` and `can_read` say the same of each record in the database, to each of these viewers.
///
/// They say one thing twice: a list shows what `scope` lets through, and a change message is for whom `can_read` lets
/// through. So fill a table with records of each sort that the policy tells apart, and ask as everybody who may come:
///
/// ```
/// # mod note {
/// #     use sea_orm::{Condition, entity::prelude::*};
/// #     #[catamaran_resources::resource(path = "/note", policy = OwnNotes)]
/// #     #[sea_orm::model]
/// #     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
/// #     #[sea_orm(table_name = "note")]
/// #     pub struct Model {
/// #         #[sea_orm(primary_key)]
/// #         pub id: i64,
/// #         pub public: bool,
/// #         pub author: Option<i64>,
/// #     }
/// #     impl ActiveModelBehavior for ActiveModel {}
/// #     #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// #     pub struct User(pub i64);
/// #     impl<S: Sync> axum::extract::FromRequestParts<S> for User {
/// #         type Rejection = ();
/// #         async fn from_request_parts(_: &mut axum::http::request::Parts, _: &S) -> Result<Self, ()> { Ok(Self(1)) }
/// #     }
/// #     pub struct OwnNotes;
/// #     impl catamaran_resources::Policy<Entity> for OwnNotes {
/// #         type Viewer = User;
/// #         fn scope(user: &User) -> Condition {
/// #             Condition::any().add(Column::Public.eq(true)).add(Column::Author.eq(user.0))
/// #         }
/// #         fn can_read(user: &User, note: &Model) -> bool { note.public || note.author == Some(user.0) }
/// #         fn can_write(user: &User, write: catamaran_resources::Write<'_, Model>) -> bool {
/// #             write.records().all(|note| note.author == Some(user.0))
/// #         }
/// #     }
/// # }
/// use catamaran_resources::{Resources, test::assert_policy_agrees};
/// use note::User;
/// use sea_orm::{ActiveModelTrait, ActiveValue::Set, DbErr};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), DbErr> {
///     let resources = Resources::open("sqlite::memory:").await?;
///     resources.sync(|schema| schema.register(note::Entity)).await?;
///     for public in [true, false] {
///         for author in [None, Some(1), Some(2)] {
///             let note = note::ActiveModel { public: Set(public), author: Set(author), ..Default::default() };
///             note.insert(resources.db()).await?;
///         }
///     }
///     assert_policy_agrees::<note::Entity>(&resources, [User(1), User(2), User(3)]).await;
///     Ok(())
/// }
/// ```
///
/// # Panics
///
/// With the viewer and the record about which they differ; also if the table is empty, or the database fails.
pub async fn assert_policy_agrees<E>(resources: &Resources, viewers: impl IntoIterator<Item = ViewerOf<E>>)
where
    E: Resource,
    E::Model: Sync,
    ViewerOf<E>: Debug,
{
    let (meta, db) = (E::meta(), resources.db());
    let identity = meta.identity();
    let id = |model: &E::Model| Row::of::<E>(meta, model.clone()).id().to_string();
    let failed = |error| panic!("the records of `{identity}` cannot be read: {error}");
    let all = E::find().all(db).await.unwrap_or_else(failed);
    assert!(!all.is_empty(), "there is no record of `{identity}` to ask the policy about");
    for viewer in viewers {
        let seen = E::find().filter(E::Policy::scope(&viewer)).all(db).await.unwrap_or_else(failed);
        let seen: HashSet<String> = seen.iter().map(id).collect();
        for model in &all {
            let (id, can_read) = (id(model), E::Policy::can_read(&viewer, model));
            assert!(
                seen.contains(&id) == can_read,
                "the policy of `{identity}` says two things of record {id} to {viewer:?}: by `scope` it is {}, by `can_read` {}",
                word(!can_read),
                word(can_read),
            );
        }
    }
}

fn word(seen: bool) -> &'static str {
    if seen { "seen" } else { "out of sight" }
}
