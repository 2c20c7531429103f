use catamaran::prelude::*;
use catamaran_resources::Resources;

mod pet {
    use catamaran_resources::{Policy, Write, resource};
    use sea_orm::{Condition, entity::prelude::*};

    #[resource(path = "/pet", policy = Own)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}

    #[derive(Clone, PartialEq, Eq, Hash)]
    pub struct User(i64);

    pub struct Own;

    impl Policy<Entity> for Own {
        type Viewer = User;

        fn scope(user: &User) -> Condition {
            Condition::all().add(Column::Id.eq(user.0))
        }

        fn can_read(user: &User, record: &Model) -> bool {
            record.id == user.0
        }

        fn can_write(user: &User, write: Write<'_, Model>) -> bool {
            write.records().all(|record| record.id == user.0)
        }
    }
}

fn main() {
    let _ = |resources: Resources| App::new(resources).mount(routes![pet]);
}
