//! A server among several, for `tests/js-client`: `cluster-app NAME`, with REDIS_URL or DATABASE_URL, and HEARTBEAT_SECONDS if the
//! default is too short.
//!
//! It prints `listening on http://127.0.0.1:PORT`, and stops on SIGTERM. What it does with all servers it answers with how many
//! sockets there were, and with whom it did not reach.

use std::{env, error::Error, time::Duration};

use axum::{Json, extract::State};
use catamaran::{Backend, Hub, MembersError, Postgres, PublishOutcome, Redis, UnreachedServers, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Long enough for balancers, which ask every 50 ms, to learn of it.
const DRAIN: Duration = Duration::from_secs(4);

/// The name of this server.
#[derive(Clone)]
struct Name(String);

/// Keeps what a client misses while it is on its way to another server.
#[channel("kept:{id}", event = Numbered, history = 20000, history_bytes = 8388608)]
struct Kept {
    id: u64,
}

/// Keeps nothing.
#[channel("unkept:{id}", event = Numbered)]
struct Unkept {
    id: u64,
}

/// The next number of a writer.
#[derive(Event, Serialize)]
#[event(name = "number")]
struct Numbered {
    channel: String,
    writer: String,
    number: u64,
}

#[derive(Event, Serialize)]
#[event(name = "word")]
struct Word(String);

/// Numbers of a writer, each to one channel of each kind.
#[derive(Deserialize)]
struct Numbers {
    writer: String,
    id: u64,
    from: u64,
    count: u64,
    /// To leave out the socket that writes.
    #[serde(default)]
    except: bool,
}

/// What became of what was done on all servers.
#[derive(Serialize)]
struct Done {
    sockets: usize,
    unreached: Option<Vec<String>>,
}

impl From<Result<usize, UnreachedServers>> for Done {
    fn from(done: Result<usize, UnreachedServers>) -> Self {
        match done {
            Ok(sockets) => Self { sockets, unreached: None },
            Err(UnreachedServers { sockets, servers, .. }) => Self { sockets, unreached: Some(servers) },
        }
    }
}

impl From<Result<usize, MembersError>> for Done {
    fn from(done: Result<usize, MembersError>) -> Self {
        match done {
            Ok(sockets) => Self { sockets, unreached: None },
            Err(MembersError::UnreachedServers(unreached)) => Err(unreached).into(),
            Err(other) => panic!("one type for each name, and few subscriptions: {other}"),
        }
    }
}

/// What became of a number, first in the channel that keeps, then in the other.
type Outcomes = [&'static str; 2];

async fn publish(ctx: &Ctx<Socket>, numbers: &Numbers, number: u64) -> catamaran::Result<Outcomes> {
    let Numbers { id, ref writer, except, .. } = *numbers;
    let event = |kind| Numbered { channel: format!("{kind}:{id}"), writer: writer.clone(), number };
    let mut kept = ctx.publish(&Kept { id }, event("kept"));
    let mut unkept = ctx.publish(&Unkept { id }, event("unkept"));
    if except {
        (kept, unkept) = (kept.except(ctx.socket()), unkept.except(ctx.socket()));
    }
    let outcome = |published| match published {
        PublishOutcome::Delivered => "delivered",
        PublishOutcome::LocalOnly => "local",
        PublishOutcome::Unknown => "unknown",
    };
    Ok([outcome(kept.await?), outcome(unkept.await?)])
}

#[controller("/channels/{id}")]
mod channels {
    use super::*;

    /// Subscribes, and says on which server.
    #[action(get "/kept")]
    async fn watch(ctx: Ctx<Socket>, id: u64, State(Name(name)): State<Name>) -> catamaran::Result<String> {
        ctx.subscribe(&Kept { id }).await?;
        Ok(name)
    }

    #[action(get "/unkept")]
    async fn watch_unkept(ctx: Ctx<Socket>, id: u64, State(Name(name)): State<Name>) -> catamaran::Result<String> {
        ctx.subscribe(&Unkept { id }).await?;
        Ok(name)
    }

    #[action(get "/count")]
    async fn count(hub: Hub, id: u64) -> Json<Done> {
        Json(hub.count(&Kept { id }).await.into())
    }

    #[action(get "/members")]
    async fn members(hub: Hub, id: u64) -> catamaran::Result<Json<Vec<String>>> {
        Ok(Json(hub.members(&Kept { id }).await?))
    }

    #[action(post "/members/{of}")]
    async fn add(hub: Hub, id: u64, of: u64) -> Json<Done> {
        Json(hub.add_members(&Kept { id: of }, &Kept { id }).await.into())
    }

    #[action(delete "/members/{of}")]
    async fn remove(hub: Hub, id: u64, of: u64) -> Json<Done> {
        Json(hub.remove_members(&Kept { id: of }, &Kept { id }).await.into())
    }

    #[action(delete "/members")]
    async fn empty(hub: Hub, id: u64) -> Json<Done> {
        Json(hub.empty(&Kept { id }).await.into())
    }

    #[action(delete "/all")]
    async fn leave_all(hub: Hub, id: u64) -> Json<Done> {
        Json(hub.leave_all(&Kept { id }).await.into())
    }

    #[action(delete "/sockets")]
    async fn close(hub: Hub, id: u64) -> Json<Done> {
        Json(hub.close_members(&Kept { id }, "channel closed").await.into())
    }
}

#[action(post "/numbers")]
async fn write(ctx: Ctx<Socket>, Json(numbers): Json<Numbers>) -> catamaran::Result<Json<Vec<Outcomes>>> {
    let mut outcomes = Vec::new();
    for number in numbers.from..numbers.from + numbers.count {
        outcomes.push(publish(&ctx, &numbers, number).await?);
    }
    Ok(Json(outcomes))
}

#[derive(Deserialize)]
struct Said {
    word: String,
    #[serde(default)]
    except: bool,
}

#[controller("/sockets")]
mod sockets {
    use super::*;

    #[action(post "/")]
    async fn blast(ctx: Ctx<Socket>, Json(Said { word, except }): Json<Said>) -> catamaran::Result<Json<usize>> {
        let word = Word(word);
        let blast = ctx.hub().blast(&word);
        let blast = if except { blast.except(ctx.socket()) } else { blast };
        Ok(Json(blast.await?))
    }

    #[action(post "/{socket}")]
    async fn emit(hub: Hub, socket: String, Json(said): Json<Said>) -> catamaran::Result<Json<bool>> {
        Ok(Json(hub.emit_to(&socket, &Word(said.word)).await?))
    }

    #[action(delete "/tagged/{tag}")]
    async fn close(hub: Hub, tag: String) -> Json<Done> {
        Json(hub.close_tagged(&tag, "logged out").await.into())
    }
}

/// What a page says when connecting.
#[derive(Deserialize)]
struct Auth {
    tag: Option<String>,
}

async fn connected(ctx: Ctx<Socket>, auth: Option<Json<Auth>>) -> catamaran::Result {
    if let Some(Json(Auth { tag: Some(tag) })) = auth {
        ctx.socket().tag(tag)?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = env::args().nth(1).ok_or("the first argument is the server's name")?;
    let backend: Backend = match env::var("REDIS_URL") {
        Ok(url) => Redis::connect(url).into(),
        Err(_) => Postgres::connect(env::var("DATABASE_URL")?).into(),
    };
    let mut app = App::new(Name(name))
        .broker(backend)
        .mount(routes![channels, write, sockets])
        .on_connect(connected)
        .drain(DRAIN)
        .health();
    if let Ok(seconds) = env::var("HEARTBEAT_SECONDS") {
        let time = Duration::from_secs(seconds.parse()?);
        app = app.heartbeat(time, time);
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    app.serve_on(listener).await?;
    Ok(())
}
