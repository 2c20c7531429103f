//! An application that Prometheus can watch, and a load balancer.
//!
//! `cargo run -p metrics-example`, then `curl http://127.0.0.1:1337/hello`, `curl http://127.0.0.1:1337/health/ready` and
//! `curl http://127.0.0.1:9090/metrics`. `PORT` and `METRICS_PORT` set other ports.

use axum::{Router, routing::get};
use catamaran::prelude::*;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

#[tokio::main]
async fn main() -> catamaran::Result {
    // Before the application is served, so that nothing goes uncounted.
    let prometheus = PrometheusBuilder::new().install_recorder()?;

    // On a port of its own, which the balancer does not forward to: the figures are nobody's outside.
    let listener = listen("METRICS_PORT", "9090").await?;
    println!("metrics on http://{}/metrics", listener.local_addr()?);
    let metrics = Router::new().route("/metrics", get(async move || prometheus.render()));
    tokio::spawn(async { axum::serve(listener, metrics).await });

    let listener = listen("PORT", "1337").await?;
    println!("listening on http://{}", listener.local_addr()?);
    App::new(()).mount(routes![hello]).health().serve_on(listener).await?;
    Ok(())
}

async fn listen(variable: &str, default: &str) -> std::io::Result<TcpListener> {
    let port = std::env::var(variable).unwrap_or_else(|_| default.into());
    TcpListener::bind(format!("127.0.0.1:{port}")).await
}
