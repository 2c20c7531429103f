use catamaran::prelude::*;
use catamaran_resources::Resources;

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

#[action(get "/pet/{id}")]
async fn show(id: i64) -> String {
    id.to_string()
}

fn main() {
    let _ = |resources: Resources| App::new(resources).mount(routes![pet, show]);
}
