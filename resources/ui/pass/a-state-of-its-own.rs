#![deny(warnings, missing_docs)]
//! An application with a state of its own, and a policy that reads it.

use axum::extract::{FromRef, FromRequestParts};
use catamaran::prelude::*;
use catamaran_resources::Resources;

/// A pet.
pub mod pet {
    use catamaran_resources::{Policy, Write, resource};
    use sea_orm::{Condition, entity::prelude::*};

    use crate::a_state_of_its_own::User;

    /// A pet.
    #[resource(path = "/pet", policy = Own)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        /// Its number.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// Its name.
        pub name: String,
        /// What it is.
        pub r#type: Option<String>,
        /// Whose it is.
        pub owner: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// Everybody has the own pets.
    #[derive(Debug)]
    pub struct Own;

    impl Policy<Entity> for Own {
        type Viewer = User;

        fn scope(user: &User) -> Condition {
            Condition::all().add(Column::Owner.eq(user.0))
        }

        fn can_read(user: &User, pet: &Model) -> bool {
            pet.owner == user.0
        }

        fn can_write(user: &User, write: Write<'_, Model>) -> bool {
            write.records().all(|pet| pet.owner == user.0)
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct User(i64);

impl FromRequestParts<AppState> for User {
    type Rejection = axum::http::StatusCode;

    async fn from_request_parts(_: &mut axum::http::request::Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(Self(state.guest))
    }
}

#[derive(Clone)]
struct AppState {
    resources: Resources,
    guest: i64,
}

impl FromRef<AppState> for Resources {
    fn from_ref(state: &AppState) -> Self {
        state.resources.clone()
    }
}

pub(crate) fn main() {
    let _ = |state: AppState| App::new(state).mount(routes![pet]);
}
