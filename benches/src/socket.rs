//! Server CPU of a request over a websocket.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::{
    client::Socket,
    rounds::{Plan, Rounds, Side},
    serve::Note,
    server::Server,
};

const SOCKETS: usize = 4;

pub(crate) async fn run(plan: Plan) {
    let (ours, twin) = (Server::start("catamaran"), Server::start("socketioxide"));
    let hello = r#"["get",{"method":"get","headers":{},"data":{},"url":"/hello"}]"#.to_owned();
    let greeting = r#"[{"body":{"message":"hello"},"headers":{},"statusCode":200}]"#.to_owned();
    for (name, bytes) in [("GET /hello", 0), ("POST 65 B, echoed", 65), ("POST 1 KiB, echoed", 1024)] {
        let (event, ack) = if bytes == 0 { (hello.clone(), greeting.clone()) } else { echo("post", bytes) };
        for window in [1, 8] {
            let rounds = Rounds::measure(plan, async |side| {
                let server = match side {
                    Side::Catamaran => &ours,
                    Side::Twin => &twin,
                };
                load(plan, server, window, &event, &ack).await
            });
            rounds.await.print_ratio(&format!("{name}, {window} in flight"), "µs");
        }
    }
}

/// The event of an echo, and its ack.
pub(crate) fn echo(name: &str, bytes: usize) -> (String, String) {
    let note = Note::of(bytes).json();
    let event = format!(r#"["{name}",{{"method":"post","headers":{{}},"data":{note},"url":"/echo"}}]"#);
    (event, format!(r#"[{{"body":{note},"headers":{{}},"statusCode":200}}]"#))
}

/// Sends as fast as answers come, and gives the server's microseconds of CPU per request.
pub(crate) async fn load(plan: Plan, server: &Server, window: u64, event: &str, ack: &str) -> f64 {
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = Socket::connect(server.address).await;
        socket.ask(window, event, ack).await;
        sockets.push(socket);
    }
    let before = server.cpu();
    let end = Instant::now() + plan.time;
    let mut clients = JoinSet::new();
    for mut socket in sockets {
        let (event, ack) = (event.to_owned(), ack.to_owned());
        clients.spawn(async move {
            let mut asked = 0;
            while Instant::now() < end {
                socket.ask(window, &event, &ack).await;
                asked += window;
            }
            // The connection stays until the server's time was read.
            (socket, asked)
        });
    }
    let finished = clients.join_all().await;
    let asked: u64 = finished.iter().map(|(_, asked)| asked).sum();
    (server.cpu() - before).as_secs_f64() * 1e6 / asked as f64
}
