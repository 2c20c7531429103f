//! Subscriptions that end when the authorization does which they were made by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{StatusCode, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use catamaran::{AuthExpiry, Error, RawChannel, RawEvent, prelude::*};

use crate::support::{Answer, Client, Packet, Server, get, post, within};

/// How long a login lasts, unless it is asked for anew.
const MOMENT: Duration = Duration::from_millis(100);

/// Whether there is a session; what a session's layer would find in its store.
#[derive(Clone, Default)]
struct Session(Arc<AtomicBool>);

/// As a layer inside that of the session.
async fn until_the_session_ends(
    State(session): State<Session>,
    expiry: AuthExpiry,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    if !session.0.load(Ordering::SeqCst) {
        return Err(Error::new(StatusCode::UNAUTHORIZED, "log in"));
    }
    expiry.at(SystemTime::now() + MOMENT);
    Ok(next.run(request).await)
}

/// As a policy that knows until when a token is good.
struct Token;

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = catamaran::Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let expiry = AuthExpiry::from_request_parts(parts, state).await?;
        expiry.at(SystemTime::now() + MOMENT);
        Ok(Self)
    }
}

#[action(get "/room")]
async fn room(ctx: Ctx<Socket>) -> catamaran::Result {
    ctx.subscribe(&RawChannel::new("room")).await?;
    Ok(())
}

/// The context comes before the policy that limits it.
#[action(get "/guarded")]
async fn guarded(ctx: Ctx<Socket>, _: Token) -> catamaran::Result {
    ctx.subscribe(&RawChannel::new("room")).await?;
    Ok(())
}

#[action(get "/own")]
async fn own(ctx: Ctx<Socket>, expiry: AuthExpiry) -> catamaran::Result {
    ctx.subscribe(&RawChannel::new("room")).await?;
    expiry.at(SystemTime::now() + MOMENT);
    Ok(())
}

#[action(post "/say/{text}")]
async fn say(hub: Hub, text: String) -> catamaran::Result {
    hub.publish(&RawChannel::new("room"), RawEvent::new("said", &text)?).await?;
    Ok(())
}

const ADA: &str = "ada-0123456789abcdef";
const EXPIRED: &str = r#"["$left","room","expired"]"#;

fn state(answer: &Answer) -> (&serde_json::Value, &str) {
    let state = &answer.channels["room"];
    (&state[0], state[2].as_str().expect("an outcome"))
}

#[tokio::test]
async fn with_a_session_that_is_valid_a_subscription_is_renewed_without_a_loss() {
    let session = Session::default();
    session.0.store(true, Ordering::SeqCst);
    let layer = from_fn_with_state(session.clone(), until_the_session_ends);
    let app = App::new(()).mount(routes![room, guarded, own]).layer(layer).mount(routes![say]);
    let hub = app.hub();
    let server = Server::start(app).await;
    let publish = async |text: &str| {
        hub.publish(&RawChannel::new("room"), RawEvent::new("said", text).unwrap()).await.unwrap();
    };
    let mut client = Client::resuming(&server, ADA).await;
    let answer = client.resume("/room", "{}").await;
    let (epoch, outcome) = state(&answer);
    assert_eq!(outcome, "fresh");
    for offset in [1, 3, 5] {
        assert_eq!(client.next().await, Packet::Event(EXPIRED.into()));
        publish("late").await;
        publish("later").await;
        let renewed = client.resume("/room", &format!(r#"{{"room":[{epoch},{}]}}"#, offset - 1)).await;
        assert_eq!(state(&renewed), (epoch, "recovered"));
        let replay = format!(r#"["$replay","room",[[{offset},"said","late"],[{},"said","later"]],false]"#, offset + 1);
        // Nothing came between: what was published after the end is in the replay alone.
        assert_eq!(client.next().await, Packet::Event(replay));
    }

    session.0.store(false, Ordering::SeqCst);
    assert_eq!(client.next().await, Packet::Event(EXPIRED.into()));
    publish("secret").await;
    assert_eq!(client.resume("/room", &format!(r#"{{"room":[{epoch},6]}}"#)).await.status, 401);
    assert!(hub.members(&RawChannel::new("room")).await.unwrap().is_empty());
    hub.blast(&RawEvent::new("all", "").unwrap()).await.unwrap();
    assert_eq!(client.next().await, Packet::Event(r#"["all",""]"#.into()));
}

#[tokio::test]
async fn a_policy_an_action_and_a_hook_can_say_when_it_ends() {
    let connected = async |ctx: Ctx<Socket>, expiry: AuthExpiry| -> catamaran::Result {
        expiry.at(SystemTime::now() + MOMENT);
        ctx.subscribe(&RawChannel::new("room")).await?;
        Ok(())
    };
    let server = Server::start(App::new(()).mount(routes![guarded, own])).await;
    for url in ["/guarded", "/own"] {
        let mut client = Client::resuming(&server, ADA).await;
        assert_eq!(client.ask(&get(url)).await.status, 200);
        assert_eq!(client.next().await, Packet::Event(EXPIRED.into()), "{url}");
    }
    let server = Server::start(App::new(()).on_connect(connected)).await;
    let mut client = Client::resuming(&server, ADA).await;
    let Packet::Event(joined) = client.next().await else { panic!("expected to join") };
    assert!(joined.starts_with(r#"["$join","room""#), "{joined}");
    assert_eq!(client.next().await, Packet::Event(EXPIRED.into()));
}

#[tokio::test]
async fn a_stock_client_is_sent_nothing_more_and_http_is_as_it_was() {
    let session = Session::default();
    session.0.store(true, Ordering::SeqCst);
    let layer = from_fn_with_state(session, until_the_session_ends);
    let app = App::new(()).mount(routes![room, say]).layer(layer);
    let hub = app.hub();
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.ask(&get("/room")).await.status, 200);
    within("the end of the subscription", async {
        while hub.count(&RawChannel::new("room")).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.http(&post("/say/secret", "null")).await.status, 200);
    hub.blast(&RawEvent::new("all", "").unwrap()).await.unwrap();
    assert_eq!(client.next().await, Packet::Event(r#"["all",""]"#.into()));
}
