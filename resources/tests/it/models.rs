//! The entities of the tests: all kinds of associations, and policies that differ.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

/// Who asks: the header `user` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    pub user: Option<i64>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get("user").and_then(|value| value.to_str().ok());
        Ok(Self { user: header.and_then(|text| text.parse().ok()) })
    }
}

pub mod user {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/user", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "user")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        /// What everybody calls the user.
        #[garde(length(min = 1, max = 80))]
        pub name: String,
        #[sea_orm(unique)]
        #[garde(contains("@"))]
        pub email: String,
        #[field(hidden, create_only)]
        #[garde(length(min = 3))]
        pub password: String,
        #[field(read_only, default = false)]
        pub is_admin: bool,
        #[garde(range(min = 0, max = 150))]
        pub age: Option<i32>,
        #[field(no_filter)]
        pub motto: Option<String>,
        #[garde(range(min = 1))]
        pub boss_id: Option<i64>,
        #[sea_orm(self_ref, relation_enum = "Boss", relation_reverse = "Staff", from = "boss_id", to = "id")]
        pub boss: BelongsTo<Option<Entity>>,
        #[sea_orm(self_ref, relation_enum = "Staff", relation_reverse = "Boss")]
        #[field(writable)]
        pub staff: HasMany<Entity>,
        #[sea_orm(has_many, relation_enum = "Pets", via_rel = "Owner")]
        #[field(writable)]
        pub pets: HasMany<super::pet::Entity>,
        #[sea_orm(has_many, relation_enum = "Patients", via_rel = "Vet")]
        #[field(writable)]
        pub patients: HasMany<super::pet::Entity>,
        #[sea_orm(self_ref, via = "friendship", from = "One", to = "Other")]
        #[field(writable)]
        pub friends: HasMany<Entity>,
        #[sea_orm(self_ref, via = "friendship", reverse)]
        #[field(writable)]
        pub befriended_by: HasMany<Entity>,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub notes: HasMany<super::note::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Who has a login: the header `user` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    pub user: i64,
}

impl<S: Sync> FromRequestParts<S> for Login {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Ok(Caller { user }) = Caller::from_request_parts(parts, state).await;
        user.map(|user| Self { user }).ok_or((StatusCode::UNAUTHORIZED, "log in first"))
    }
}

pub mod note {
    use catamaran_resources::{Policy, Write};
    use sea_orm::{Condition, entity::prelude::*};

    use super::Login;

    #[catamaran_resources::resource(path = "/note", policy = OwnNotes)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "note")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        #[sea_orm(column_name = "body", column_type = "Text")]
        pub text: String,
        pub mood: Option<Mood>,
        pub user_id: i64,
        #[sea_orm(belongs_to, from = "user_id", to = "id")]
        pub user: BelongsTo<super::user::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// A type of the database's own, where it has such.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize, serde::Deserialize)]
    #[sea_orm(rs_type = "String", db_type = "Enum", enum_name = "mood")]
    #[serde(rename_all = "lowercase")]
    pub enum Mood {
        #[sea_orm(string_value = "good")]
        Good,
        #[sea_orm(string_value = "bad")]
        Bad,
    }

    /// Everybody has the own notes.
    pub struct OwnNotes;

    impl Policy<Entity> for OwnNotes {
        type Viewer = Login;

        fn scope(login: &Login) -> Condition {
            Condition::all().add(Column::UserId.eq(login.user))
        }

        fn can_read(login: &Login, note: &Model) -> bool {
            note.user_id == login.user
        }

        fn can_write(login: &Login, write: Write<'_, Model>) -> bool {
            write.records().all(|note| Self::can_read(login, note))
        }
    }
}

pub mod friendship {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "friendship")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub one_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub other_id: i64,
        #[sea_orm(belongs_to, relation_enum = "One", from = "one_id", to = "id")]
        pub one: BelongsTo<super::user::Entity>,
        #[sea_orm(belongs_to, relation_enum = "Other", from = "other_id", to = "id")]
        pub other: BelongsTo<super::user::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod pet {
    use catamaran_resources::{Policy, Write};
    use sea_orm::{Condition, entity::prelude::*};

    use super::Caller;

    #[catamaran_resources::resource(path = "/pet", policy = OwnPets)]
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
        pub owner_id: Option<i64>,
        #[sea_orm(belongs_to, relation_enum = "Owner", from = "owner_id", to = "id")]
        pub owner: BelongsTo<Option<super::user::Entity>>,
        pub vet_id: Option<i64>,
        #[sea_orm(belongs_to, relation_enum = "Vet", from = "vet_id", to = "id")]
        pub vet: BelongsTo<Option<super::user::Entity>>,
        #[sea_orm(has_many, via = "pet_toy")]
        #[field(writable)]
        pub toys: HasMany<super::toy::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    /// Private pets are seen by their owner only; who is user 0 changes nothing.
    pub struct OwnPets;

    impl Policy<Entity> for OwnPets {
        type Viewer = Caller;

        fn scope(caller: &Caller) -> Condition {
            let own = caller.user.map(|user| Column::OwnerId.eq(user));
            Condition::any().add(Column::Private.eq(false)).add_option(own)
        }

        fn can_read(caller: &Caller, pet: &Model) -> bool {
            !pet.private || (caller.user.is_some() && pet.owner_id == caller.user)
        }

        fn can_write(caller: &Caller, write: Write<'_, Model>) -> bool {
            caller.user != Some(0) && write.records().all(|pet| Self::can_read(caller, pet))
        }
    }
}

pub mod toy {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/toy", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "toy")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub label: String,
        #[sea_orm(has_many, via = "pet_toy")]
        #[field(writable)]
        pub pets: HasMany<super::pet::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

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
