//! A server that tests end by signals: `drain-app DEADLINE_MS [health] [polling] [leaving] [FILE]`.
//!
//! It prints `listening on ..`, `began` for each request that waits at the gate, which a line on its standard input
//! opens, and with `leaving` also `left` for each socket that goes. Its effects are lines in the file, so that they outlive it.

use std::{error::Error, io::Write, path::PathBuf, sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use catamaran::{TransportType, prelude::*};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::watch};

#[derive(Clone)]
struct Server {
    gate: Arc<watch::Sender<bool>>,
    effects: PathBuf,
}

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

/// Answers once the gate is open.
#[action(get "/gate")]
async fn gate(State(server): State<Server>) -> catamaran::Result<&'static str> {
    println!("began");
    server.gate.subscribe().wait_for(|open| *open).await?;
    Ok("passed")
}

#[derive(Deserialize)]
struct Effect {
    id: String,
}

/// Does something that must not be done twice.
#[action(post "/effects")]
async fn effect(State(server): State<Server>, Json(effect): Json<Effect>) -> catamaran::Result<StatusCode> {
    // Long enough to be under way, often enough, when the server is told to stop.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(server.effects)?;
    // One write of a short line is not torn by those of other processes.
    file.write_all(format!("{}\n", effect.id).as_bytes())?;
    Ok(StatusCode::CREATED)
}

/// On one thread, which takes up requests in the order of their arrival.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let deadline = args.next().ok_or("the first argument is the deadline in milliseconds")?.parse()?;
    let (options, files): (Vec<String>, Vec<String>) =
        args.partition(|arg| ["health", "polling", "leaving"].contains(&&**arg));
    let effects = files.first().map(PathBuf::from).unwrap_or_default();

    let gate = Arc::new(watch::Sender::new(false));
    let mut app = App::new(Server { gate: gate.clone(), effects })
        .mount(routes![hello, gate, effect])
        .drain(Duration::from_millis(deadline))
        // No ping, so that nothing but the end of the server ends a long-poll.
        .heartbeat(Duration::from_secs(300), Duration::from_secs(300));
    for option in options {
        app = match &*option {
            "health" => app.health(),
            "leaving" => app.on_disconnect(async || println!("left")),
            _ => app.transports([TransportType::Websocket, TransportType::Polling]),
        };
    }
    // A thread, since tokio waits for its own reader of standard input before it lets the process end.
    std::thread::spawn(move || {
        if matches!(std::io::stdin().read_line(&mut String::new()), Ok(1..)) {
            gate.send_replace(true);
        }
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await?;
    Ok(())
}
