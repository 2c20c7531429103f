//! People, pets and toys in a database: three models that answer over both transports, and tell each change.
//!
//! `cargo run -p pets`, then open <http://127.0.0.1:1337> in two windows. `PORT` sets another port, and `DATABASE_URL`
//! another file than `sqlite://pets.db`. README.md says what to try.

mod models;
mod viewer;

use std::env;

use axum::{Router, http::header, response::Html, routing::get};
use catamaran::prelude::*;
use catamaran_resources::Resources;
use models::{pet, pet_toy, toy, user};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, DatabaseConnection, DbErr, EntityTrait, PaginatorTrait};
use tokio::net::TcpListener;

/// Opens the database, which has somebody to be and something to see from the start.
async fn database() -> Result<Resources, DbErr> {
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://pets.db".into());
    let resources = Resources::open(&url).await?;
    let tables = resources.sync(|schema| {
        let schema = schema.register(user::Entity).register(pet::Entity);
        schema.register(toy::Entity).register(pet_toy::Entity)
    });
    tables.await?;
    if user::Entity::find().count(resources.db()).await? == 0 {
        fill(resources.db()).await?;
    }
    Ok(resources)
}

/// Ann with a pet that everybody sees and one that nobody else does, Bob with another, and two toys.
async fn fill(db: &DatabaseConnection) -> Result<(), DbErr> {
    let person = |name: &str| user::ActiveModel {
        name: Set(name.to_owned()),
        email: Set(format!("{}@example.org", name.to_lowercase())),
        password: Set("s3cret".to_owned()),
        ..Default::default()
    };
    let animal = |name: &str, private: bool, owner: i64| pet::ActiveModel {
        name: Set(name.to_owned()),
        private: Set(private),
        owner_id: Set(Some(owner)),
        ..Default::default()
    };
    let thing = |label: &str| toy::ActiveModel { label: Set(label.to_owned()), ..Default::default() };

    let [ann, bob] = [person("Ann").insert(db).await?.id, person("Bob").insert(db).await?.id];
    let rex = animal("Rex", false, ann).insert(db).await?.id;
    animal("Mittens", true, ann).insert(db).await?;
    animal("Polly", false, bob).insert(db).await?;
    let ball = thing("Ball").insert(db).await?.id;
    thing("Mouse").insert(db).await?;
    pet_toy::ActiveModel { pet_id: Set(rex), toy_id: Set(ball) }.insert(db).await?;
    Ok(())
}

/// The page, which talks to the models by our own client, `/catamaran.io.js`.
fn page() -> Router {
    let style = ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../page/pets.css"));
    let script = ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../page/pets.js"));
    Router::new()
        .route("/", get(Html(include_str!("../page/pets.html"))))
        .route("/pets.css", get(style))
        .route("/pets.js", get(script))
}

#[tokio::main]
async fn main() -> catamaran::Result {
    let app = App::new(database().await?).mount(routes![user, pet, toy]).merge(page()).health();
    // The page says with each packet who the user is, as it does over HTTP.
    let app = app.packet_headers(["x-user"]);
    for route in app.routes() {
        println!("{route}");
    }

    let port = env::var("PORT").unwrap_or_else(|_| "1337".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await?;
    Ok(())
}
