//! For the tests of an application.

use std::{collections::HashSet, fmt::Debug};

use sea_orm::{Condition, ConnectionTrait, DbBackend};

use crate::{
    Policy, Resource, Resources,
    engine::{Attempt, Lock, View, Writer, sql},
    meta::{Row, Values, key_text},
    policy::Viewers,
    resource::ViewerOf,
};

/// Asserts that a policy shows each viewer the same records by its `scope`, which a database is asked, and by its
/// `can_read`, which decides about change messages.
///
/// The records are stored, read as the database has them, and taken back: they need keys that no stored record has. The
/// records that they refer to must be there, except on SQLite.
///
/// ```
/// use catamaran_resources::{Policy, Resources, test::assert_policy_agrees};
///
/// pub mod note {
///     use catamaran_resources::{Policy, resource};
///     use sea_orm::{Condition, entity::prelude::*};
///
///     #[resource(path = "/note", policy = OwnNotes)]
///     #[sea_orm::model]
///     #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
///     #[sea_orm(table_name = "note")]
///     pub struct Model {
///         #[sea_orm(primary_key)]
///         pub id: i64,
///         pub public: bool,
///         pub author: Option<i64>,
///     }
///
///     impl ActiveModelBehavior for ActiveModel {}
///
///     /// Everybody reads public notes; the author reads the own ones.
///     pub struct OwnNotes;
/// #   #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// #   pub struct User(pub Option<i64>);
/// #   impl<S: Sync> axum::extract::FromRequestParts<S> for User {
/// #       type Rejection = std::convert::Infallible;
/// #       async fn from_request_parts(_: &mut axum::http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
/// #           Ok(Self(None))
/// #       }
/// #   }
///
///     impl Policy<Entity> for OwnNotes {
///         type Viewer = User;
///
///         fn scope(user: &User) -> Condition {
///             Condition::any().add(Column::Public.eq(true)).add_option(user.0.map(|id| Column::Author.eq(id)))
///         }
///
///         fn can_read(user: &User, note: &Model) -> bool {
///             // `note.author == user.0` would show notes without an author to who has no login.
///             note.public || (user.0.is_some() && note.author == user.0)
///         }
///     }
/// }
///
/// # async fn example() -> Result<(), sea_orm::DbErr> {
/// // #[tokio::test]
/// let resources = Resources::open("sqlite::memory:").await?;
/// resources.sync(|schema| schema.register(note::Entity)).await?;
/// let viewers = [None, Some(1), Some(2)].map(note::User);
/// let mut notes = Vec::new();
/// for public in [true, false] {
///     for author in [None, Some(1), Some(2)] {
///         notes.push(note::Model { id: notes.len() as i64 + 1, public, author });
///     }
/// }
/// assert_policy_agrees::<note::Entity>(&resources, viewers, notes).await;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
///
/// # Panics
///
/// If the policy disagrees with itself, with each viewer and record about which it does; or if the database does not take
/// the records.
pub async fn assert_policy_agrees<E>(
    resources: &Resources,
    viewers: impl IntoIterator<Item = ViewerOf<E>>,
    records: impl IntoIterator<Item = E::Model>,
) where
    E: Resource,
    E::Model: Sync,
    ViewerOf<E>: Debug,
{
    let attempt =
        Attempt::alone(resources).await.unwrap_or_else(|error| panic!("the database does not answer: {error}"));
    let nobody = Viewers::default();
    let mut stored = Vec::new();
    if attempt.transaction.get_database_backend() == DbBackend::Sqlite {
        let whenever = attempt.transaction.execute_unprepared("PRAGMA defer_foreign_keys = ON").await;
        whenever.unwrap_or_else(|error| panic!("the database does not answer: {error}"));
    }
    let writer = Writer::new(&attempt.transaction, &nobody, resources.compat);
    for record in records {
        let said = format!("{record:?}");
        let row = Row::of::<E>(E::meta(), record);
        let values: Values = (0..E::meta().fields.len()).map(|at| (at, row.value(at).clone())).collect();
        let row = writer.insert(E::meta(), &values).await;
        stored.push(row.unwrap_or_else(|error| panic!("the database does not take {said}: {error}")));
    }
    let view = View { db: &attempt.transaction, viewers: &nobody };
    let mut differences = Vec::new();
    for viewer in viewers {
        let shown = shown::<E>(&view, &viewer, &stored).await;
        for row in &stored {
            let Some(record) = row.model::<E>() else { continue };
            let [by_scope, by_can_read] =
                [shown.contains(&key_text(row.value(E::meta().key()))), E::Policy::can_read(&viewer, record)];
            if by_scope != by_can_read {
                let (shows, hides) = if by_scope { ("scope", "can_read") } else { ("can_read", "scope") };
                differences.push(format!("\n  `{shows}` shows {viewer:?} what `{hides}` does not: {record:?}"));
            }
        }
    }
    attempt.rollback().await.unwrap_or_else(|error| panic!("the database does not answer: {error}"));
    let name = E::meta().identity();
    assert!(differences.is_empty(), "the policy of `{name}` disagrees with itself:{}", differences.concat());
}

/// The keys of the records that a database shows a viewer.
async fn shown<E: Resource>(
    view: &View<'_, impl ConnectionTrait>,
    viewer: &ViewerOf<E>,
    stored: &[Row],
) -> HashSet<String> {
    let meta = E::meta();
    let keys = stored.iter().map(|row| row.value(meta.key()).clone()).collect();
    let condition = Condition::all().add(sql::among(meta, meta.key(), keys)).add(E::Policy::scope(viewer));
    let rows = view.matching(meta, condition, Lock::No, None).await;
    let rows =
        rows.unwrap_or_else(|error| panic!("the database does not take the scope of {}: {error}", meta.identity()));
    rows.iter().map(|row| key_text(row.value(meta.key()))).collect()
}
