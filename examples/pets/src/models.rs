//! People, their pets, and the toys that pets play with.

pub mod user {
    use catamaran_resources::{Public, resource};
    use sea_orm::entity::prelude::*;

    #[resource(path = "/user", policy = Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "user")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[garde(length(min = 1, max = 80))]
        pub name: String,
        #[sea_orm(unique)]
        #[garde(contains("@"))]
        pub email: String,
        /// Never told, neither in an answer nor in a message; a real application keeps a hash.
        #[field(hidden, create_only)]
        #[garde(length(min = 3))]
        pub password: String,
        #[sea_orm(has_many)]
        pub pets: HasMany<super::pet::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod pet {
    use catamaran_resources::{Policy, resource};
    use sea_orm::{Condition, entity::prelude::*};

    use crate::viewer::CurrentUser;

    #[resource(path = "/pet", policy = OwnPets)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[garde(length(min = 1, max = 40))]
        pub name: String,
        #[field(default = false)]
        pub private: bool,
        /// On the wire it is `owner`.
        pub owner_id: Option<i64>,
        #[sea_orm(belongs_to, from = "owner_id", to = "id")]
        pub owner: BelongsTo<Option<super::user::Entity>>,
        #[sea_orm(has_many, via = "pet_toy")]
        pub toys: HasMany<super::toy::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// A private pet is seen and changed by its owner alone.
    pub struct OwnPets;

    impl Policy<Entity> for OwnPets {
        type Viewer = CurrentUser;

        fn scope(user: &CurrentUser) -> Condition {
            let own = user.id.map(|id| Column::OwnerId.eq(id));
            Condition::any().add(Column::Private.eq(false)).add_option(own)
        }

        fn can_read(user: &CurrentUser, pet: &Model) -> bool {
            !pet.private || (user.id.is_some() && pet.owner_id == user.id)
        }
    }
}

pub mod toy {
    use catamaran_resources::{Public, resource};
    use sea_orm::entity::prelude::*;

    #[resource(path = "/toy", policy = Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "toy")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[garde(length(min = 1, max = 40))]
        pub label: String,
        #[sea_orm(has_many, via = "pet_toy")]
        pub pets: HasMany<super::pet::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which pet plays with which toy: a table between, and no resource.
pub mod pet_toy {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet_toy")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub pet_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub toy_id: i64,
        #[sea_orm(belongs_to, from = "pet_id", to = "id")]
        pub pet: BelongsTo<super::pet::Entity>,
        #[sea_orm(belongs_to, from = "toy_id", to = "id")]
        pub toy: BelongsTo<super::toy::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}
