use axum::{Json, http::StatusCode};
use catamaran::prelude::*;
use catamaran_resources::{Record, Records, Resources};
use sea_orm::EntityTrait;

mod pet {
    use catamaran_resources::{Public, resource};
    use sea_orm::entity::prelude::*;

    #[resource(path = "/pet", policy = Public, except = [find_one, create])]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[action(get "/pet/{id}")]
async fn show(id: i64) -> String {
    id.to_string()
}

#[action(post "/pet")]
async fn create(pets: Records<pet::Entity>, Json(new): Json<pet::Create>) -> catamaran::Result<Record<pet::Entity>> {
    pets.transaction(async |tx| {
        if pet::Entity::find().all(tx.db()).await?.len() > 10 {
            return Err(catamaran::Error::new(StatusCode::CONFLICT, "there are enough pets"));
        }
        tx.create(&new).await
    })
    .await
}

pub(crate) fn main() {
    let _ = |resources: Resources| App::new(resources).mount(routes![pet, show, create]);
}
