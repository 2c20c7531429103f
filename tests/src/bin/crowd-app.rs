//! The server of a crowd of sockets: `crowd-app MAX_BACKLOG_BYTES INTERVAL_MS TIMEOUT_MS`. It has a process of its own, so
//! that its memory is not that of its clients. It prints `listening on http://127.0.0.1:PORT`, and ends when it is killed.

use std::{
    error::Error,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, extract::State};
use catamaran::{Hub, TransportType, prelude::*};
use serde::Serialize;
use socketioxide::SocketIo;
use tokio::net::TcpListener;

#[channel("news", event = NewsEvent)]
struct News;

#[derive(Event, Serialize)]
enum NewsEvent {
    Line { number: u64, text: String },
}

#[derive(Clone, Default)]
struct Crowd {
    io: Arc<OnceLock<SocketIo>>,
    published: Arc<AtomicU64>,
    ended: Arc<AtomicUsize>,
}

/// Who is there, as the server sees it.
#[derive(Serialize)]
struct Census {
    sockets: usize,
    subscribed: usize,
    /// How many were cut off because they read too slowly.
    slow: u64,
    /// How often `on_disconnect` ran.
    ended: usize,
}

#[controller("/")]
mod actions {
    use super::*;

    #[action(get "/news")]
    async fn watch(ctx: Ctx<Socket>) -> catamaran::Result {
        ctx.subscribe(&News).await?;
        Ok(())
    }

    /// Publishes the next number, with a text of so many bytes. The one who publishes waits for each answer.
    #[action(post "/news/{bytes}")]
    async fn publish(hub: Hub, State(crowd): State<Crowd>, bytes: usize) -> catamaran::Result {
        let number = crowd.published.fetch_add(1, Ordering::SeqCst);
        hub.publish(&News, NewsEvent::Line { number, text: "x".repeat(bytes) }).await?;
        Ok(())
    }

    #[action(get "/census")]
    async fn census(hub: Hub, State(crowd): State<Crowd>) -> catamaran::Result<Json<Census>> {
        Ok(Json(Census {
            sockets: crowd.io.get().map_or(0, |io| io.sockets().len()),
            subscribed: hub.count(&News).await?,
            slow: hub.slow_sockets(),
            ended: crowd.ended.load(Ordering::SeqCst),
        }))
    }
}

async fn disconnected(State(crowd): State<Crowd>) {
    crowd.ended.fetch_add(1, Ordering::SeqCst);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<Vec<u64>, _>>()?;
    let [limit, interval, timeout] = args[..] else { return Err("three numbers are needed".into()) };
    let crowd = Crowd::default();
    let io = crowd.io.clone();
    let app = App::new(crowd)
        .mount(routes![actions])
        .on_disconnect(disconnected)
        .transports([TransportType::Websocket, TransportType::Polling])
        .max_backlog_bytes(limit.try_into()?)
        .heartbeat(Duration::from_millis(interval), Duration::from_millis(timeout))
        .socketio(move |socketio| assert!(io.set(socketio.clone()).is_ok()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await?;
    Ok(())
}
