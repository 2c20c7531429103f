//! Records of a database: as a resource, and as axum and SeaORM by hand have them.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use catamaran::{App, routes};
use catamaran_resources::Resources;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, QueryOrder,
    QuerySelect, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use serde::Deserialize;

/// How many records there are, of which a list has thirty.
pub(crate) const RECORDS: i64 = 100;

#[allow(unreachable_pub)]
pub(crate) mod pet {
    use sea_orm::entity::prelude::*;
    use serde::Serialize;

    /// The fields stand in the order in which JSON has them.
    #[catamaran_resources::resource(path = "/pet", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        pub age: i32,
        #[sea_orm(primary_key)]
        pub id: i64,
        #[garde(length(min = 1, max = 40))]
        pub name: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

async fn resources() -> Resources {
    let resources = Resources::open("sqlite::memory:").await.expect("a database");
    resources.sync(|schema| schema.register(pet::Entity)).await.expect("a table");
    for _ in 0..RECORDS {
        let pet = pet::ActiveModel { age: Set(3), name: Set("Rex".to_owned()), ..Default::default() };
        pet.insert(resources.db()).await.expect("a record");
    }
    resources
}

pub(crate) async fn app() -> App<Resources> {
    App::new(resources().await).mount(routes![pet])
}

/// Why a record is not shown.
enum Failure {
    Missing,
    Invalid,
    Database,
}

impl From<DbErr> for Failure {
    fn from(_: DbErr) -> Self {
        Self::Database
    }
}

impl axum::response::IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        let status = match self {
            Self::Missing => StatusCode::NOT_FOUND,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Database => StatusCode::INTERNAL_SERVER_ERROR,
        };
        status.into_response()
    }
}

type Db = State<DatabaseConnection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    age: i32,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    age: i32,
}

pub(crate) async fn by_hand() -> Router {
    Router::new()
        .route("/pet", get(list).post(create))
        .route("/pet/{id}", get(show).patch(update))
        .with_state(resources().await.db().clone())
}

async fn list(State(db): Db) -> Result<Json<Vec<pet::Model>>, Failure> {
    Ok(Json(pet::Entity::find().order_by_asc(pet::Column::Id).limit(30).all(&db).await?))
}

async fn show(State(db): Db, Path(id): Path<i64>) -> Result<Json<pet::Model>, Failure> {
    Ok(Json(pet::Entity::find_by_id(id).one(&db).await?.ok_or(Failure::Missing)?))
}

async fn create(State(db): Db, Json(Create { age, name }): Json<Create>) -> Result<Json<pet::Model>, Failure> {
    if name.is_empty() || name.len() > 40 {
        return Err(Failure::Invalid);
    }
    let pet = pet::ActiveModel { age: Set(age), name: Set(name), ..Default::default() };
    let transaction = begin(&db).await?;
    let pet = pet.insert(&transaction).await?;
    transaction.commit().await?;
    Ok(Json(pet))
}

/// In a transaction, as whoever wants to tell what was there before must have it.
async fn update(
    State(db): Db,
    Path(id): Path<i64>,
    Json(Patch { age }): Json<Patch>,
) -> Result<Json<pet::Model>, Failure> {
    let transaction = begin(&db).await?;
    let pet = pet::Entity::find_by_id(id).one(&transaction).await?.ok_or(Failure::Missing)?;
    let mut pet = pet.into_active_model();
    // SeaORM leaves out what is as it was.
    pet.age = Set(age);
    let pet = pet.update(&transaction).await?;
    transaction.commit().await?;
    Ok(Json(pet))
}

async fn begin(db: &DatabaseConnection) -> Result<sea_orm::DatabaseTransaction, DbErr> {
    let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
    db.begin_with_options(TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() }).await
}
