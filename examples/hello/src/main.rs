//! The smallest application: one action, which `curl` and a browser's socket both reach.
//!
//! `cargo run -p hello`, then `curl http://127.0.0.1:1337/hello`. `PORT` sets another port.

use axum::Json;
use catamaran::prelude::*;
use serde::Serialize;
use tokio::net::TcpListener;

#[derive(Serialize)]
struct Greeting {
    message: &'static str,
}

/// Greets, over HTTP and over a socket alike.
#[action(get "/hello")]
async fn hello() -> Json<Greeting> {
    Json(Greeting { message: "hello" })
}

#[tokio::main]
async fn main() -> Result<(), catamaran::ServeError> {
    let app = App::new(()).mount(routes![hello]);
    for route in app.routes() {
        println!("{route}");
    }

    let port = std::env::var("PORT").unwrap_or_else(|_| "1337".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await
}
