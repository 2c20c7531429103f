mod pet {
    use catamaran_resources::{Policy, resource};
    use sea_orm::{Condition, entity::prelude::*};

    #[resource(path = "/pet", policy = Pets)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}

    pub struct Pets;

    impl Policy<Entity> for Pets {
        type Viewer = ();

        fn scope((): &()) -> Condition {
            Condition::all()
        }

        fn can_read((): &(), _: &Model) -> bool {
            true
        }
    }
}

fn main() {}
