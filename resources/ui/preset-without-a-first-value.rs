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
        #[field(update = 1)]
        pub owner: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

fn main() {}
