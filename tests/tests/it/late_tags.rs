//! A request that reads a login, and tags or subscribes its socket after a closing has run: the socket must not stay.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{extract::State, http::StatusCode};
use catamaran::{Error, Hub, RawChannel, RawEvent, prelude::*};
use tokio::sync::Notify;

use crate::support::{Client, Eio, Packet, Server, get, within};

/// A login that ends, and a request that is stopped between its check and what it does then.
#[derive(Clone)]
struct Login(Arc<Shared>);

struct Shared {
    is_valid: AtomicBool,
    /// What a checked request does: tags its socket, or subscribes it to the channel that is closed.
    tags: bool,
    checked: Notify,
    go_on: Notify,
}

fn user() -> RawChannel {
    RawChannel::new("user:7")
}

fn news() -> RawChannel {
    RawChannel::new("news")
}

/// As a careful application writes it: the login is checked, and what follows waits for a database, say.
async fn enter(ctx: Ctx<Socket>, State(Login(login)): State<Login>) -> catamaran::Result {
    if !login.is_valid.load(Ordering::SeqCst) {
        return Err(Error::new(StatusCode::UNAUTHORIZED, "log in"));
    }
    login.checked.notify_one();
    login.go_on.notified().await;
    if login.tags {
        ctx.socket().tag("user:7")?;
    } else {
        ctx.subscribe(&user()).await?;
    }
    ctx.subscribe(&news()).await?;
    Ok(())
}

#[action(get "/enter")]
async fn enter_later(ctx: Ctx<Socket>, state: State<Login>) -> catamaran::Result {
    enter(ctx, state).await
}

/// Ends the login, closes what it opened, and lets the request go on that was checked before.
async fn log_out(login: &Login, hub: &Hub) {
    within("the check", login.0.checked.notified()).await;
    login.0.is_valid.store(false, Ordering::SeqCst);
    if login.0.tags {
        hub.close_tagged("user:7", "logged out").await.expect("one server");
    } else {
        hub.close_members(&user(), "logged out").await.expect("one server");
    }
    login.0.go_on.notify_one();
}

/// The socket is let in by the hook, or asks an action; then it must be closed, and hear nothing of what is published.
async fn is_closed(by_hook: bool, tags: bool) {
    let (is_valid, checked, go_on) = (AtomicBool::new(true), Notify::new(), Notify::new());
    let login = Login(Arc::new(Shared { is_valid, tags, checked, go_on }));
    let app = App::new(login.clone()).mount(routes![enter_later]);
    let app = if by_hook { app.on_connect(enter) } else { app };
    let hub = app.hub();
    let server = Server::start(app).await;
    let mut client = Client::open(server.address, "/socket.io", Eio::V4, &[]).await;
    if by_hook {
        client.send("40").await;
    } else {
        client.enter().await;
        client.start(&get("/enter")).await;
    }
    log_out(&login, &hub).await;
    let answer = client.receive().await;
    let went_on = match &answer {
        Packet::Ack(_, answer) => answer.status < 400,
        Packet::Other(text) => text.starts_with("40"),
        _ => false,
    };
    if went_on {
        let secret = RawEvent::new("said", "secret").expect("text is JSON");
        hub.publish(&news(), secret).await.expect("text is JSON");
        let next = client.receive().await;
        assert!(
            matches!(&next, Packet::Closed | Packet::Other(_)),
            "the socket stays after {answer:?}, and hears {next:?}"
        );
    }
    assert_eq!(hub.count(&news()).await.expect("one server"), 0);
}

#[tokio::test]
async fn tag_of_an_action_after_a_closing_closes() {
    is_closed(false, true).await;
}

#[tokio::test]
async fn tag_of_a_hook_after_a_closing_closes() {
    is_closed(true, true).await;
}

#[tokio::test]
async fn subscription_of_an_action_after_a_closing_closes() {
    is_closed(false, false).await;
}

#[tokio::test]
async fn subscription_of_a_hook_after_a_closing_closes() {
    is_closed(true, false).await;
}
