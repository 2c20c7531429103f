//! People, their pets, and the toys that pets play with. A policy stands below each model: who reads, and who does what.

pub mod user {
    use catamaran_resources::{Policy, Write, resource};
    use sea_orm::{Condition, entity::prelude::*};

    use crate::viewer::CurrentUser;

    #[resource(path = "/user", policy = Accounts)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "user")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[garde(length(min = 1, max = 80))]
        pub name: String,
        /// Everybody reads users, so what is not for everybody is hidden.
        #[sea_orm(unique)]
        #[field(hidden)]
        #[garde(contains("@"))]
        pub email: String,
        /// In no answer and in no message; a real application keeps a hash.
        #[field(hidden, create_only)]
        #[garde(length(min = 3))]
        pub password: String,
        /// `PUT /user/1/pets/2` sets the key of the pet, so the policy of pets is asked, too.
        #[sea_orm(has_many)]
        #[field(writable)]
        pub pets: HasMany<super::pet::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// Everybody reads users and may sign up. A user changes nobody but the own record.
    pub struct Accounts;

    impl Policy<Entity> for Accounts {
        type Viewer = CurrentUser;

        fn scope(_: &CurrentUser) -> Condition {
            Condition::all()
        }

        fn can_read(_: &CurrentUser, _: &Model) -> bool {
            true
        }

        fn can_write(viewer: &CurrentUser, write: Write<'_, Model>) -> bool {
            match write {
                Write::Create(_) => true,
                Write::Update { from: user, .. } | Write::Delete(user) => viewer.is(user.id),
                Write::Link { record, .. } => viewer.is(record.id),
            }
        }
    }
}

pub mod pet {
    use catamaran_resources::{Policy, Write, resource};
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
        #[field(writable)]
        pub toys: HasMany<super::toy::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// Everybody reads pets that are not private. Only the owner reads a private pet, and only the owner writes.
    pub struct OwnPets;

    impl Policy<Entity> for OwnPets {
        type Viewer = CurrentUser;

        fn scope(viewer: &CurrentUser) -> Condition {
            let own = viewer.id.map(|id| Column::OwnerId.eq(id));
            Condition::any().add(Column::Private.eq(false)).add_option(own)
        }

        fn can_read(viewer: &CurrentUser, pet: &Model) -> bool {
            !pet.private || owns(viewer, pet)
        }

        fn can_write(viewer: &CurrentUser, write: Write<'_, Model>) -> bool {
            match write {
                Write::Create(pet) | Write::Delete(pet) => owns(viewer, pet),
                // Somebody may take in a stray. An owner may give a pet away, unless it is private.
                Write::Update { from, to } if from.owner_id.is_none() => owns(viewer, to),
                Write::Update { from, to } => owns(viewer, from) && (owns(viewer, to) || !to.private),
                Write::Link { record, .. } => owns(viewer, record),
            }
        }
    }

    fn owns(viewer: &CurrentUser, pet: &Model) -> bool {
        pet.owner_id.is_some_and(|owner| viewer.is(owner))
    }
}

pub mod toy {
    use catamaran_resources::{Policy, Write, resource};
    use sea_orm::{Condition, entity::prelude::*};

    use crate::viewer::CurrentUser;

    #[resource(path = "/toy", policy = SharedToys)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "toy")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[garde(length(min = 1, max = 40))]
        pub label: String,
        /// Read here, and written at the pet: an association of two resources may be open at one end.
        #[sea_orm(has_many, via = "pet_toy")]
        pub pets: HasMany<super::pet::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// Everybody reads toys. They belong to nobody, so whoever is logged in writes them.
    ///
    /// The end of a toy takes it from the pets that play with it, so the policy of pets is asked as well.
    pub struct SharedToys;

    impl Policy<Entity> for SharedToys {
        type Viewer = CurrentUser;

        fn scope(_: &CurrentUser) -> Condition {
            Condition::all()
        }

        fn can_read(_: &CurrentUser, _: &Model) -> bool {
            true
        }

        fn can_write(viewer: &CurrentUser, write: Write<'_, Model>) -> bool {
            match write {
                Write::Create(_) | Write::Update { .. } | Write::Delete(_) | Write::Link { .. } => viewer.id.is_some(),
            }
        }
    }
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
