//! Server CPU of a request over HTTP.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::{
    client::Http,
    rounds::{Plan, Rounds, Side},
    serve::Note,
    server::Server,
};

const CONNECTIONS: usize = 4;

pub(crate) async fn run(plan: Plan) {
    let (ours, twin) = (Server::start("catamaran"), Server::start("axum"));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n");
    let note = Note::of(65).json();
    let post = format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\ncontent-type: application/json\r\ncontent-length: 65\r\n\r\n{note}"
    );
    let cases = [
        ("GET /hello", get("/hello"), r#"{"message":"hello"}"#),
        ("GET /numbers/{id}", get("/numbers/1234567"), "1234567"),
        ("POST 65 B, echoed", post, &note),
    ];
    for (name, request, body) in cases {
        let rounds = Rounds::measure(plan, async |side| {
            let server = match side {
                Side::Catamaran => &ours,
                Side::Twin => &twin,
            };
            load(plan, server, &request, body).await
        });
        rounds.await.print_ratio(name, "µs");
    }
}

/// Sends as fast as answers come, and gives the server's microseconds of CPU per request.
pub(crate) async fn load(plan: Plan, server: &Server, request: &str, body: &str) -> f64 {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Http::connect(server.address).await;
        connection.ask(request, body).await;
        connections.push(connection);
    }
    let before = server.cpu();
    let end = Instant::now() + plan.time;
    let mut clients = JoinSet::new();
    for mut connection in connections {
        let (request, body) = (request.to_owned(), body.to_owned());
        clients.spawn(async move {
            let mut asked = 0;
            while Instant::now() < end {
                connection.ask(&request, &body).await;
                asked += 1;
            }
            // The connection stays until the server's time was read.
            (connection, asked)
        });
    }
    let finished = clients.join_all().await;
    let asked: u64 = finished.iter().map(|(_, asked)| asked).sum();
    (server.cpu() - before).as_secs_f64() * 1e6 / asked as f64
}
