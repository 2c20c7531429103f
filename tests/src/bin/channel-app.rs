//! The server that `tests/js-client` subscribes to: `channel-app [INTERVAL_MS TIMEOUT_MS]`, its heartbeat. It prints
//! `listening on http://127.0.0.1:PORT`, and stops on SIGTERM.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use axum::{Json, http::StatusCode};
use catamaran::{Channel, Hub, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Keeps a few events for whoever comes back.
#[channel("log:{id}", event = LogEvent, history = 5)]
struct Log {
    id: u64,
}

#[derive(Event, Serialize)]
enum LogEvent {
    Line(u64),
}

#[controller("/log/{id}")]
mod log {
    use super::*;

    #[action(get "/")]
    async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result<&'static str> {
        ctx.subscribe(&Log { id }).await?;
        Ok("watching")
    }

    /// Subscribes by a method that nobody repeats.
    #[action(post "/")]
    async fn join(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Log { id }).await?;
        Ok(())
    }

    #[action(delete "/")]
    async fn leave(ctx: Ctx<Socket>, id: u64) {
        ctx.socket().unsubscribe(&Log { id }).await;
    }

    #[action(post "/{line}")]
    async fn write(ctx: Ctx, id: u64, line: u64) -> catamaran::Result {
        ctx.publish(&Log { id }, LogEvent::Line(line)).await?;
        Ok(())
    }
}

/// Keeps what a client misses in seconds.
#[channel("long:{id}", event = Numbered, history = 2000)]
struct Long {
    id: u64,
}

/// Keeps as much, on one count for all ids.
#[channel("shared:{id}", event = Numbered, history = 2000, stream = "shared")]
struct Shared {
    id: u64,
}

/// Keeps less than a client misses.
#[channel("short:{id}", event = Numbered, history = 5)]
struct Short {
    id: u64,
}

/// The next number of a channel.
#[derive(Event, Serialize)]
#[event(name = "number")]
struct Numbered {
    channel: String,
    number: usize,
    padding: String,
}

/// By whom each number of a channel was published, who does not hear it; those of nobody in particular everyone hears.
static PUBLISHED: LazyLock<Mutex<BTreeMap<String, Vec<Option<u64>>>>> = LazyLock::new(Mutex::default);
/// One publishes at a time, so that numbers and offsets have the same order.
static PUBLISHING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The last number of a channel, or of what goes to several.
fn last(name: &str) -> usize {
    PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner).get(name).map_or(0, Vec::len)
}

/// The next one.
fn next(name: String, padding: usize, by: Option<u64>) -> Numbered {
    let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    let numbers = published.entry(name.clone()).or_default();
    numbers.push(by);
    Numbered { channel: name, number: numbers.len(), padding: ".".repeat(padding) }
}

/// Publishes the next number of a channel, to all or to all but one.
async fn publish_next(
    hub: &Hub,
    channel: &impl Channel<Event = Numbered>,
    padding: usize,
    except: Option<(u64, &Socket)>,
) -> catamaran::Result {
    let _one_at_a_time = PUBLISHING.lock().await;
    let publish = hub.publish(channel, next(channel.name(), padding, except.map(|(client, _)| client)));
    match except {
        Some((_, socket)) => publish.except(socket).await?,
        None => publish.await?,
    };
    Ok(())
}

/// Publishes the next number of a kind of its own to two channels.
async fn publish_to_both(hub: &Hub, id: u64) -> catamaran::Result {
    let _one_at_a_time = PUBLISHING.lock().await;
    hub.publish(&Long { id }, next(format!("both:{id}"), 0, None)).and(&Shared { id }).await?;
    Ok(())
}

/// A next number for each of the first ids, of each kind of channel; those that are kept for long are padded.
#[derive(Deserialize)]
struct Burst {
    ids: u64,
    padding: usize,
}

#[controller("/storm")]
mod storm {
    use super::*;

    /// Subscribes to two channels. What follows the numbers of the answer, the client must hear.
    #[action(get "/{id}")]
    async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result<Json<[usize; 3]>> {
        ctx.subscribe(&Long { id }).await?;
        ctx.subscribe(&Shared { id }).await?;
        Ok(Json(["long", "shared", "both"].map(|kind| last(&format!("{kind}:{id}")))))
    }

    /// Subscribes to one of these two once more.
    #[action(get "/{id}/again")]
    async fn watch_again(ctx: Ctx<Socket>, id: u64) -> catamaran::Result<Json<[usize; 1]>> {
        ctx.subscribe(&Long { id }).await?;
        Ok(Json([last(&Long { id }.name())]))
    }

    #[action(get "/{id}/short")]
    async fn watch_short(ctx: Ctx<Socket>, id: u64) -> catamaran::Result<Json<[usize; 1]>> {
        ctx.subscribe(&Short { id }).await?;
        Ok(Json([last(&Short { id }.name())]))
    }

    /// A number that the client itself does not hear.
    #[action(post "/{id}/by/{client}")]
    async fn publish(ctx: Ctx<Socket>, id: u64, client: u64) -> catamaran::Result {
        publish_next(ctx.hub(), &Long { id }, 0, Some((client, ctx.socket()))).await
    }

    #[action(post "/burst")]
    async fn burst(ctx: Ctx, Json(burst): Json<Burst>) -> catamaran::Result {
        for id in 0..burst.ids {
            publish_next(ctx.hub(), &Long { id }, burst.padding, None).await?;
            publish_next(ctx.hub(), &Shared { id }, 0, None).await?;
            publish_to_both(ctx.hub(), id).await?;
            publish_next(ctx.hub(), &Short { id }, 0, None).await?;
        }
        Ok(())
    }

    #[action(get "/published")]
    async fn published() -> Json<BTreeMap<String, Vec<Option<u64>>>> {
        Json(PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Goes on counting where another server was.
    #[action(put "/published")]
    async fn go_on(Json(numbers): Json<BTreeMap<String, Vec<Option<u64>>>>) {
        *PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

/// What a page says when connecting.
#[derive(Deserialize)]
struct Auth {
    /// To be subscribed to this log by the server.
    log: Option<u64>,
    /// To be refused with this status.
    refuse: Option<u16>,
}

async fn connected(ctx: Ctx<Socket>, auth: Option<Json<Auth>>) -> catamaran::Result {
    let Some(Json(auth)) = auth else { return Ok(()) };
    if let Some(id) = auth.log {
        ctx.subscribe(&Log { id }).await?;
    }
    match auth.refuse {
        Some(status) => Err(catamaran::Error::new(StatusCode::from_u16(status)?, "as you wish")),
        None => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let transports = [catamaran::TransportType::Websocket, catamaran::TransportType::Polling];
    let mut app = App::new(()).transports(transports).mount(routes![log, storm]).on_connect(connected);
    let args = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<Vec<u64>, _>>()?;
    if let [interval, timeout] = args[..] {
        app = app.heartbeat(Duration::from_millis(interval), Duration::from_millis(timeout));
    }
    app.serve_on(listener).await?;
    Ok(())
}
