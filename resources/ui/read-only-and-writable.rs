mod pet {
    use catamaran_resources::{Public, resource};
    use sea_orm::entity::prelude::*;

    #[resource(path = "/pet", policy = Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub owner_id: Option<i64>,
        #[sea_orm(self_ref, relation_enum = "Owner", relation_reverse = "Owned", from = "owner_id", to = "id")]
        pub owner: BelongsTo<Option<Entity>>,
        #[sea_orm(self_ref, relation_enum = "Owned", relation_reverse = "Owner")]
        #[field(read_only, writable)]
        pub owned: HasMany<Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

fn main() {}
