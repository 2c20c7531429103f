mod pet {
    use axum::{extract::FromRequestParts, http::request::Parts};
    use catamaran_resources::{Policy, Write, resource};
    use sea_orm::{Condition, entity::prelude::*};

    #[resource(path = "/pet", policy = OwnPets)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[field(create = viewer.name.clone())]
        pub owner: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}

    #[derive(Clone, PartialEq, Eq, Hash)]
    pub struct User {
        pub name: String,
    }

    impl<S: Sync> FromRequestParts<S> for User {
        type Rejection = std::convert::Infallible;

        async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
            Ok(Self { name: "Ann".into() })
        }
    }

    pub struct OwnPets;

    impl Policy<Entity> for OwnPets {
        type Viewer = User;

        fn scope(_: &User) -> Condition {
            Condition::all()
        }

        fn can_read(_: &User, _: &Model) -> bool {
            true
        }

        fn can_write(_: &User, _: Write<'_, Model>) -> bool {
            true
        }
    }
}

fn main() {}
