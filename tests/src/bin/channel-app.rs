//! The server that `tests/client` subscribes to. It prints `listening on http://127.0.0.1:PORT`, and stops on SIGTERM.

use std::error::Error;

use catamaran::prelude::*;
use serde::Serialize;
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    App::new(()).mount(routes![log]).serve_on(listener).await?;
    Ok(())
}
