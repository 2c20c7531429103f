//! Closing what a login opened: out of every channel, told why, and not back by itself.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{extract::State, http::StatusCode};
use catamaran::{Error, RawChannel, RawEvent, TagError, prelude::*};
use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};

use crate::support::{Client, Eio, Packet, Server, get, post, until, within};

const CLOSED: &str = r#"["$left",null,"logged out"]"#;
const ADA: &str = "ada-0123456789abcdef";

/// What the actions and the tests share.
#[derive(Clone, Default)]
struct Lab(Arc<Shared>);

#[derive(Default)]
struct Shared {
    entered: Notify,
    gate: Notify,
    ran: Mutex<Vec<String>>,
    refused: AtomicBool,
}

fn room() -> RawChannel {
    RawChannel::new("room")
}

fn said(text: &str) -> RawEvent {
    RawEvent::new("said", text).unwrap()
}

#[action(post "/tag/{tag}")]
async fn tag(ctx: Ctx<Socket>, tag: String) -> catamaran::Result {
    Ok(ctx.socket().tag(tag)?)
}

#[action(get "/room")]
async fn watch(ctx: Ctx<Socket>) -> catamaran::Result {
    ctx.subscribe(&room()).await?;
    Ok(())
}

/// Subscribes, and is answered when the test says so.
#[action(get "/slow")]
async fn watch_slowly(ctx: Ctx<Socket>, State(lab): State<Lab>) -> catamaran::Result {
    ctx.subscribe(&room()).await?;
    lab.0.entered.notify_one();
    lab.0.gate.notified().await;
    Ok(())
}

#[action(post "/logout")]
async fn log_out(hub: Hub) -> String {
    hub.close_tagged("user:7", "logged out").await.unwrap().to_string()
}

#[action(post "/leave")]
async fn leave(ctx: Ctx<Socket>) -> String {
    ctx.socket().close("logged out").to_string()
}

#[action(post "/ran/{what}")]
async fn run(State(lab): State<Lab>, what: String) {
    lab.0.ran.lock().unwrap().push(what);
}

fn app(lab: &Lab) -> App<Lab> {
    App::new(lab.clone()).mount(routes![tag, watch, watch_slowly, log_out, leave, run])
}

/// A client that is tagged and watches the room.
async fn member(server: &Server, name: Option<&str>) -> Client {
    let mut client = match name {
        Some(name) => Client::resuming(server, name).await,
        None => Client::connect(server).await,
    };
    assert_eq!(client.ask(&post("/tag/user:7", "null")).await.status, 200);
    assert_eq!(client.ask(&get("/room")).await.status, 200);
    client
}

/// Reads until the client is told that it is disconnected, and gives what came before.
async fn rest(client: &mut Client) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        match client.next().await {
            Packet::Event(event) => events.push(event),
            Packet::Other(packet) if packet == "41" => return events,
            other => panic!("expected events and a disconnect, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn sockets_with_a_tag_are_told_why_and_disconnected_and_others_stay() {
    let (lab, (gone, mut ends)) = (Lab::default(), mpsc::unbounded_channel());
    let app = app(&lab).on_disconnect(async move || gone.send(()).expect("the test listens"));
    let hub = app.hub();
    let server = Server::start(app).await;
    let (mut ours, mut stock) = (member(&server, Some(ADA)).await, member(&server, None).await);
    let mut other = Client::connect(&server).await;
    assert_eq!(other.ask(&post("/tag/user:8", "null")).await.status, 200);
    assert_eq!(other.ask(&get("/room")).await.status, 200);

    assert_eq!(hub.close_tagged("user:7", "logged out").await.unwrap(), 2);
    hub.publish(&room(), said("secret")).await.unwrap();
    hub.blast(&said("to all")).await.unwrap();
    assert_eq!(rest(&mut ours).await, [CLOSED]);
    assert_eq!(rest(&mut stock).await, Vec::<String>::new());
    assert_eq!(other.next().await, Packet::Event(r#"["said","secret"]"#.into()));
    for _ in 0..2 {
        within("the end of a socket", ends.recv()).await.unwrap();
    }
    assert_eq!(hub.close_tagged("user:7", "logged out").await.unwrap(), 0);
    assert_eq!(hub.count(&room()).await.unwrap(), 1);
}

#[tokio::test]
async fn members_of_a_channel_are_closed_and_one_socket_by_its_id() {
    let lab = Lab::default();
    let app = app(&lab);
    let hub = app.hub();
    let server = Server::start(app).await;
    let (mut member, mut visitor) = (member(&server, Some(ADA)).await, Client::connect(&server).await);
    let mut about_to = Client::connect(&server).await;
    about_to.start(&get("/slow")).await;
    within("the slow request", lab.0.entered.notified()).await;
    assert_eq!(hub.close_members(&room(), "logged out").await.unwrap(), 2);
    assert_eq!(rest(&mut member).await, [CLOSED]);
    rest(&mut about_to).await;
    assert_eq!(visitor.ask(&get("/room")).await.status, 200);

    let [id] = hub.members(&room()).await.unwrap().try_into().expect("one member");
    let socket = hub.socket(&id).expect("it is connected");
    assert!(socket.close("logged out"));
    assert!(!socket.close("logged out"));
    assert!(matches!(socket.tag("user:7"), Err(TagError::Gone)));
    rest(&mut visitor).await;
    until("the socket to be gone", || hub.socket(&id).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_published_after_it_returned_reaches_any_of_many() {
    const MANY: usize = 60;
    let lab = Lab::default();
    let app = app(&lab);
    let hub = app.hub();
    let server = Server::start(app).await;
    let (next, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let (hub, next, stop) = (hub.clone(), next.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let event = RawEvent::new("n", &number).unwrap();
                    hub.publish(&room(), event).await.unwrap();
                    if number % 7 == 0 {
                        hub.blast(&RawEvent::new("n", &next.fetch_add(1, Ordering::SeqCst)).unwrap()).await.unwrap();
                    }
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
            })
        })
        .collect();
    let mut clients = Vec::new();
    for n in 0..MANY {
        let name = format!("client-0123456789-{n}");
        clients.push(member(&server, (n % 2 == 0).then_some(&*name)).await);
    }
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let events = rest(&mut client).await.concat();
                // Alone or in a replay, each is `"n",7]`.
                let numbers = events.split(r#""n","#).skip(1).map(|rest| rest.split(']').next().unwrap());
                numbers.map(|digits| digits.parse::<u64>().unwrap()).max().unwrap_or_default()
            })
        })
        .collect();
    assert_eq!(hub.close_tagged("user:7", "logged out").await.unwrap(), MANY);
    let after = next.load(Ordering::SeqCst);
    let later = after + 200;
    until("more to be published", || next.load(Ordering::SeqCst) > later).await;
    let newest = join_all(readers).await.into_iter().map(Result::unwrap).max().unwrap();
    assert!(newest < after, "{newest} was published after {after}");
    assert!(newest > 0, "they heard what came before");
    stop.store(true, Ordering::SeqCst);
    join_all(publishers).await;
}

#[tokio::test]
async fn a_subscribe_in_flight_does_not_count_and_its_request_is_answered() {
    for name in [Some(ADA), None] {
        let lab = Lab::default();
        let app = app(&lab);
        let hub = app.hub();
        let server = Server::start(app).await;
        let mut client = match name {
            Some(name) => Client::resuming(&server, name).await,
            None => Client::connect(&server).await,
        };
        client.ask(&post("/tag/user:7", "null")).await;
        let slow = client.start(&get("/slow")).await;
        within("the slow request", lab.0.entered.notified()).await;
        assert_eq!(hub.close_tagged("user:7", "logged out").await.unwrap(), 1);
        lab.0.gate.notify_one();
        let answer = client.ack(slow).await;
        assert_eq!((answer.status, &answer.channels), (200, &serde_json::Value::Null));
        hub.publish(&room(), said("secret")).await.unwrap();
        assert_eq!(rest(&mut client).await, if name.is_some() { vec![CLOSED] } else { vec![] });
        assert_eq!(hub.count(&room()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_request_that_closes_its_own_socket_is_answered() {
    let server = Server::start(app(&Lab::default())).await;
    for (url, answer) in [("/logout", "1"), ("/leave", "true")] {
        let mut client = member(&server, Some(ADA)).await;
        assert_eq!(client.ask(&post(url, "null")).await.json(), answer);
        assert_eq!(rest(&mut client).await, [CLOSED]);
    }
}

#[tokio::test]
async fn a_socket_whose_requests_never_end_is_disconnected_all_the_same_and_no_new_one_starts() {
    let lab = Lab::default();
    let app = app(&lab);
    let hub = app.hub();
    let server = Server::start(app).await;
    let mut client = member(&server, None).await;
    client.start(&get("/slow")).await;
    within("the slow request", lab.0.entered.notified()).await;
    assert_eq!(hub.close_tagged("user:7", "logged out").await.unwrap(), 1);
    client.start(&post("/ran/late", "null")).await;
    rest(&mut client).await;
    assert_eq!(*lab.0.ran.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_socket_that_is_closed_while_it_asks_to_be_let_in_is_refused() {
    let lab = Lab::default();
    let connected = async |ctx: Ctx<Socket>, State(lab): State<Lab>| -> catamaran::Result {
        ctx.socket().tag("user:7")?;
        ctx.subscribe(&room()).await?;
        lab.0.entered.notify_one();
        lab.0.gate.notified().await;
        Ok(())
    };
    let app = app(&lab).on_connect(connected);
    let hub = app.hub();
    let server = Server::start(app).await;
    let mut client = Client::open(server.address, "/socket.io", Eio::V4, &[]).await;
    client.send("40").await;
    within("the hook", lab.0.entered.notified()).await;
    assert_eq!(hub.close_tagged("user:7", "logged out").await.unwrap(), 1);
    lab.0.gate.notify_one();
    let refused = r#"44{"message":"401 Unauthorized: the login that opened this socket has ended"}"#;
    assert_eq!(client.receive().await, Packet::Other(refused.into()));
    assert_eq!((hub.count(&room()).await.unwrap(), hub.close_tagged("user:7", "").await.unwrap()), (0, 0));
}

#[tokio::test]
async fn who_comes_back_is_asked_for_again() {
    let lab = Lab::default();
    let connected = async |State(lab): State<Lab>| match lab.0.refused.load(Ordering::SeqCst) {
        true => Err(Error::new(StatusCode::UNAUTHORIZED, "log in")),
        false => Ok(()),
    };
    let app = app(&lab).on_connect(connected);
    let hub = app.hub();
    let server = Server::start(app).await;
    let mut client = member(&server, Some(ADA)).await;
    lab.0.refused.store(true, Ordering::SeqCst);
    hub.close_tagged("user:7", "logged out").await.unwrap();
    rest(&mut client).await;
    // On the same connection, and on another.
    client.send("40").await;
    assert_eq!(client.receive().await, Packet::Other(r#"44{"message":"401 Unauthorized: log in"}"#.into()));
    let mut again = Client::open(server.address, "/socket.io", Eio::V4, &[]).await;
    again.send("40").await;
    assert_eq!(again.receive().await, Packet::Other(r#"44{"message":"401 Unauthorized: log in"}"#.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_over_as_it_is_closed_leaves_nothing() {
    let lab = Lab::default();
    let connected = async |ctx: Ctx<Socket>| -> catamaran::Result {
        ctx.socket().tag("user:7")?;
        ctx.subscribe(&room()).await?;
        Ok(())
    };
    let app = app(&lab).on_connect(connected);
    let hub = app.hub();
    let server = Server::start(app).await;
    for _ in 0..30 {
        let _before = Client::resuming(&server, ADA).await;
        let mut next = Client::open(server.address, "/socket.io", Eio::V4, &[]).await;
        next.send(format!(r#"40{{"catamaran":{{"client":"{ADA}"}}}}"#)).await;
        tokio::task::yield_now().await;
        hub.close_tagged("user:7", "logged out").await.unwrap();
        // The next was closed, or was not yet tagged; then it is let in.
        let let_in = match within("an answer", next.receive()).await {
            Packet::Other(text) if text.starts_with("44") => false,
            Packet::Other(text) if text.starts_with("40") => true,
            other => panic!("expected an answer, got {other:?}"),
        };
        if let_in {
            hub.close_tagged("user:7", "logged out").await.unwrap();
        }
        assert_eq!(hub.count(&room()).await.unwrap(), 0);
        assert_eq!(hub.close_tagged("user:7", "").await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_socket_has_at_most_so_many_tags() {
    let server = Server::start(app(&Lab::default())).await;
    let mut client = Client::connect(&server).await;
    for n in 0..16 {
        assert_eq!(client.ask(&post(format!("/tag/{n}"), "null")).await.status, 200);
    }
    assert_eq!(client.ask(&post("/tag/3", "null")).await.status, 200);
    let refused = client.ask(&post("/tag/16", "null")).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("too_many_tags")));
}

#[tokio::test]
async fn a_socket_has_at_most_so_many_subscriptions() {
    #[action(get "/channels/{from}/{to}")]
    async fn channels(ctx: Ctx<Socket>, from: u64, to: u64) -> catamaran::Result {
        for n in from..to {
            ctx.subscribe(&RawChannel::new(format!("channel:{n}"))).await?;
        }
        Ok(())
    }
    #[action(delete "/channels/{n}")]
    async fn leave_channel(ctx: Ctx<Socket>, n: u64) {
        ctx.socket().unsubscribe(&RawChannel::new(format!("channel:{n}"))).await;
    }
    for (limit, app) in [(256, App::new(())), (3, App::new(()).max_subscriptions(3))] {
        let app = app.mount(routes![channels, leave_channel]);
        let hub = app.hub();
        let server = Server::start(app).await;
        let mut client = Client::connect(&server).await;
        assert_eq!(client.ask(&get(format!("/channels/0/{limit}"))).await.status, 200);
        assert_eq!(client.ask(&get(format!("/channels/0/{limit}"))).await.status, 200, "those it has");
        let refused = client.ask(&get(format!("/channels/{limit}/{}", limit + 1))).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("too_many_subscriptions")));
        assert_eq!(refused.message(), format!("a socket has at most {limit} subscriptions"));
        client.ask(&crate::support::Ask::new("delete", "/channels/0")).await;
        assert_eq!(client.ask(&get(format!("/channels/{limit}/{}", limit + 1))).await.status, 200);
        // A request that fails leaves nothing, and another socket has its own.
        let mut other = Client::connect(&server).await;
        assert_eq!(other.ask(&get(format!("/channels/0/{}", limit + 1))).await.status, 409);
        assert_eq!(hub.count(&RawChannel::new("channel:0")).await.unwrap(), 0);
    }
}
