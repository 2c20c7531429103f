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
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod toy {
    use catamaran_resources::{Policy, Write, resource};
    use sea_orm::{Condition, entity::prelude::*};

    #[resource(path = "/toy", policy = OwnPets)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "toy")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}

    pub struct OwnPets;

    impl Policy<crate::pet::Entity> for OwnPets {
        type Viewer = ();

        fn scope((): &()) -> Condition {
            Condition::all()
        }

        fn can_read((): &(), _: &crate::pet::Model) -> bool {
            true
        }

        fn can_write((): &(), _: Write<'_, crate::pet::Model>) -> bool {
            true
        }
    }
}

fn main() {}
