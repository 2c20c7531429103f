//! Rooms that people talk in: a page subscribes to a room, and hears what is said there until it leaves.
//!
//! `cargo run -p chat`, then open <http://127.0.0.1:1337> in two windows. `PORT` sets another port.

mod rooms;

use axum::{Router, response::Html, routing::get};
use catamaran::prelude::*;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), catamaran::ServeError> {
    let app = App::new(rooms::Store::default())
        .mount(routes![rooms])
        .merge(Router::new().route("/", get(Html(include_str!("page.html")))));
    for route in app.routes() {
        println!("{route}");
    }

    let port = std::env::var("PORT").unwrap_or_else(|_| "1337".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await
}
