//! The records of one table: as a resource, and by hand.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use catamaran::{App, routes};
use catamaran_resources::Resources;
use garde::Validate;
use sea_orm::{
    ActiveModelTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryOrder,
    QuerySelect, Set, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef},
};

use super::by_hand::{self, Ack, NoHeaders};

pub(crate) mod pet {
    #![allow(unreachable_pub)]

    use sea_orm::entity::prelude::*;

    // The fields are in the order in which a resource writes them.
    #[catamaran_resources::resource(path = "/pet", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, serde::Serialize)]
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

/// A database with the table.
pub(crate) async fn open(url: &str) -> Resources {
    let resources = Resources::open(url).await.expect("a database");
    resources.sync(|schema| schema.register(pet::Entity)).await.expect("a table");
    resources
}

/// The server with catamaran.
pub(crate) async fn app(url: &str) -> App<Resources> {
    App::new(open(url).await).mount(routes![pet])
}

/// The server by hand: axum and socketioxide, and a room that is told what changes.
pub(crate) async fn by_hand(url: &str) -> Router {
    let (layer, io) = by_hand::engine().build_layer();
    let pets = Pets { db: open(url).await.db().clone(), io: io.clone() };
    let listening = pets.clone();
    io.ns("/", async move |socket: SocketRef| listening.listen(&socket));
    let find = async |State(pets): State<Pets>, Query(page): Query<Page>| pets.find(page.limit).await.map(Json);
    let create = async |State(pets): State<Pets>, Json(new): Json<pet::Create>| pets.create(new).await.map(Json);
    let find_one = async |State(pets): State<Pets>, Path(id): Path<i64>| pets.find_one(id).await.map(Json);
    let update = async |State(pets): State<Pets>, Path(id): Path<i64>, Json(patch): Json<pet::Patch>| {
        pets.update(id, patch).await.map(Json)
    };
    Router::new()
        .route("/pet", get(find).post(create))
        .route("/pet/{id}", get(find_one).patch(update))
        .with_state(pets)
        .layer(layer)
}

#[derive(Clone)]
struct Pets {
    db: DatabaseConnection,
    io: SocketIo,
}

#[derive(Deserialize)]
struct Page {
    limit: u64,
}

/// A change, as a socket asks for it.
#[derive(Deserialize)]
struct Changed {
    id: i64,
    patch: pet::Patch,
}

type Answer<T> = Result<T, StatusCode>;

impl Pets {
    fn listen(&self, socket: &SocketRef) {
        socket.on("watch", async |socket: SocketRef, ack: AckSender| {
            socket.join("pet");
            send(ack, Ok(()));
        });
        let pets = self.clone();
        socket.on("find", async move |Data(page): Data<Page>, ack: AckSender| send(ack, pets.find(page.limit).await));
        let pets = self.clone();
        socket.on("find_one", async move |Data(id): Data<i64>, ack: AckSender| send(ack, pets.find_one(id).await));
        let pets = self.clone();
        socket.on("create", async move |Data(new): Data<pet::Create>, ack: AckSender| {
            send(ack, pets.create(new).await);
        });
        let pets = self.clone();
        socket.on("update", async move |Data(changed): Data<Changed>, ack: AckSender| {
            send(ack, pets.update(changed.id, changed.patch).await);
        });
    }

    async fn find(&self, limit: u64) -> Answer<Vec<pet::Model>> {
        pet::Entity::find()
            .order_by_asc(pet::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await
            .map_err(|error| failed(&error))
    }

    async fn find_one(&self, id: i64) -> Answer<pet::Model> {
        let found = pet::Entity::find_by_id(id).one(&self.db).await.map_err(|error| failed(&error))?;
        found.ok_or(StatusCode::NOT_FOUND)
    }

    /// In a transaction, as whoever looks at what was stored before it stays.
    async fn create(&self, new: pet::Create) -> Answer<pet::Model> {
        new.validate().map_err(|_| StatusCode::BAD_REQUEST)?;
        let new = pet::ActiveModel { age: Set(new.age), name: Set(new.name), ..Default::default() };
        let transaction = self.begin().await?;
        let pet = new.insert(&transaction).await.map_err(|error| failed(&error))?;
        transaction.commit().await.map_err(|error| failed(&error))?;
        self.tell(&json!({"verb": "created", "id": pet.id, "data": pet})).await;
        Ok(pet)
    }

    /// Reads the record and writes it in one transaction.
    async fn update(&self, id: i64, patch: pet::Patch) -> Answer<pet::Model> {
        patch.validate().map_err(|_| StatusCode::BAD_REQUEST)?;
        let transaction = self.begin().await?;
        let found =
            pet::Entity::find_by_id(id).lock_exclusive().one(&transaction).await.map_err(|error| failed(&error))?;
        let before = found.ok_or(StatusCode::NOT_FOUND)?;
        let (mut changed, mut data) = (before.clone().into_active_model(), Map::from_iter([("id".into(), id.into())]));
        if let Some(age) = patch.age {
            changed.age = Set(age);
            data.insert("age".into(), age.into());
        }
        if let Some(name) = patch.name {
            data.insert("name".into(), name.clone().into());
            changed.name = Set(name);
        }
        let pet = changed.update(&transaction).await.map_err(|error| failed(&error))?;
        transaction.commit().await.map_err(|error| failed(&error))?;
        self.tell(&json!({"verb": "updated", "id": id, "data": data, "previous": before})).await;
        Ok(pet)
    }

    /// One that waits for its turn.
    async fn begin(&self) -> Answer<DatabaseTransaction> {
        let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode, ..Default::default() };
        self.db.begin_with_options(options).await.map_err(|error| failed(&error))
    }

    async fn tell(&self, message: &Value) {
        self.io.to("pet").emit("pet", message).await.expect("no socket is full");
    }
}

fn failed(error: &DbErr) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

fn send<T: Serialize>(ack: AckSender, answer: Answer<T>) {
    let (status, body) = match answer {
        Ok(body) => (200, Some(body)),
        Err(status) => (status.as_u16(), None),
    };
    ack.send(&Ack { body, headers: NoHeaders {}, status }).expect("no socket is full");
}
