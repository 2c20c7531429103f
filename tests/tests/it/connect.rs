//! Sockets that ask to be let in: what the application sees of them, whom it refuses, and what it hears of their end.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, FromRef, FromRequestParts, Query, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Redirect, Response},
};
use catamaran::{Error, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::support::{Body, Client, Eio, Packet, Server, get, post, until, within};

/// Keeps a few events for whoever comes back.
#[channel("log:{id}", event = LogEvent, history = 3)]
struct Log {
    id: u64,
}

#[derive(Event, Serialize)]
enum LogEvent {
    Line(u64),
}

/// What the handlers and the tests share.
#[derive(Clone, Default)]
struct Lab(Arc<Shared>);

#[derive(Default)]
struct Shared {
    notes: Mutex<Vec<String>>,
    entered: Notify,
    gate: Notify,
    kept: Mutex<Option<Socket>>,
}

impl Lab {
    fn note(&self, note: impl Into<String>) {
        self.0.notes.lock().unwrap().push(note.into());
    }

    fn notes(&self) -> Vec<String> {
        self.0.notes.lock().unwrap().clone()
    }
}

#[action(get "/me")]
async fn me(ctx: Ctx<Socket>, headers: HeaderMap) -> String {
    let cookie = headers.get(header::COOKIE).map_or("", |cookie| cookie.to_str().unwrap());
    format!("{} {cookie}", ctx.socket().id())
}

#[action(get "/log/{id}")]
async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
    ctx.subscribe(&Log { id }).await?;
    Ok(())
}

#[action(post "/log/{id}/{line}")]
async fn write(ctx: Ctx, id: u64, line: u64) -> catamaran::Result {
    ctx.publish(&Log { id }, LogEvent::Line(line)).await?;
    Ok(())
}

#[action(get "/log/{id}/readers")]
async fn readers(hub: Hub, id: u64) -> catamaran::Result<String> {
    Ok(hub.count(&Log { id }).await?.to_string())
}

/// Keeps the socket for longer than it is connected.
#[action(get "/keep")]
async fn keep(ctx: Ctx<Socket>, State(lab): State<Lab>) {
    *lab.0.kept.lock().unwrap() = Some(ctx.socket().clone());
}

/// Emits to the asking socket by its id.
#[action(get "/echo")]
async fn echo(ctx: Ctx<Socket>) -> catamaran::Result<String> {
    Ok(ctx.hub().emit_to(ctx.socket().id(), &LogEvent::Line(0)).await?.to_string())
}

fn app(lab: &Lab) -> App<Lab> {
    App::new(lab.clone()).mount(routes![me, watch, write, readers, keep, echo])
}

const ADA: &str = "ada-0123456789abcdef";
const EIOS: [Eio; 2] = [Eio::V3, Eio::V4];

/// Opens a connection, and says this when connecting.
async fn connecting(server: &Server, path: &str, payload: &str) -> Client {
    let mut client = Client::open(server.address, path, Eio::V4, &[]).await;
    client.send(format!("40{payload}")).await;
    client
}

fn connected(packet: &Packet) -> bool {
    matches!(packet, Packet::Other(text) if text.starts_with("40"))
}

/// The words of a refusal.
#[track_caller]
fn refusal(packet: &Packet) -> String {
    let Packet::Other(text) = packet else { panic!("expected a refusal, got {packet:?}") };
    let json = text.strip_prefix("44").unwrap_or_else(|| panic!("expected a refusal, got {text}"));
    let refusal: serde_json::Value = serde_json::from_str(json).expect("JSON");
    refusal["message"].as_str().expect("a message").to_owned()
}

/// Tries to connect, by one protocol.
async fn attempt(server: &Server, eio: Eio, headers: &[(&str, &str)]) -> (Client, Packet) {
    let mut client = Client::open(server.address, "/socket.io", eio, headers).await;
    if eio == Eio::V4 {
        client.send("40").await;
    }
    let answer = client.receive().await;
    (client, answer)
}

async fn line(server: &Server, line: u64) {
    assert_eq!(server.http(&post(format!("/log/7/{line}"), "null")).await.status, 200);
}

fn event(text: &str) -> Packet {
    Packet::Event(text.to_owned())
}

#[tokio::test]
async fn the_hook_sees_the_handshake_as_a_request_with_the_payload_as_its_body() {
    async fn note(
        socket: Socket,
        State(lab): State<Lab>,
        ConnectInfo(peer): ConnectInfo<SocketAddr>,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) {
        assert!(peer.ip().is_loopback());
        assert!(headers.get("upgrade").is_none() && headers.get("sec-websocket-key").is_none());
        let seen = |name| headers.get(name).map_or("-", |value| value.to_str().unwrap());
        let body = str::from_utf8(&body).unwrap();
        lab.note(format!(
            "{} {method} {uri} {} {} {} {body}",
            socket.id(),
            seen("cookie"),
            seen("content-type"),
            seen("content-length")
        ));
    }
    let lab = Lab::default();
    let server = Server::start(app(&lab).on_connect(note)).await;
    let cookie = [("cookie", "sid=1")];
    let mut client = Client::open(server.address, "/socket.io", Eio::V4, &cookie).await;
    client.send(format!(r#"40{{"token":"x","n":1e400,"catamaran":{{"client":"{ADA}"}}}}"#)).await;
    assert!(connected(&client.receive().await));
    let json = r#"application/json 24 {"n":1e400,"token":"x"}"#.replace("24", "23");
    let uri = "/socket.io/?EIO=4&transport=websocket";
    let id = client.ask(&get("/me")).await.json().as_str().unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(lab.notes(), [format!("{id} GET {uri} sid=1 {json}")]);

    // Our client has nothing to say to the application, the next one says nothing at all, and Engine.IO 3 cannot.
    Client::resuming(&server, ADA).await;
    Client::connect(&server).await;
    Client::with(&server, Eio::V3, &[]).await;
    let ends = [uri, uri, "/socket.io/?EIO=3&transport=websocket"].map(|uri| format!("GET {uri} - - - "));
    for (note, end) in lab.notes()[1..].iter().zip(ends) {
        assert!(note.ends_with(&end), "{note}");
    }
    assert_eq!(lab.notes().len(), 4);
}

#[tokio::test]
async fn an_answer_of_400_and_more_refuses_and_says_why() {
    #[derive(Deserialize)]
    struct Wish {
        answer: String,
    }
    async fn decide(Query(wish): Query<Wish>, auth: Option<Json<u64>>) -> Response {
        let _ = auth;
        match &*wish.answer {
            "error" => Error::new(StatusCode::UNAUTHORIZED, "the token has expired").into_response(),
            "text" => (StatusCode::FORBIDDEN, "not\r\nyou").into_response(),
            "json" => (StatusCode::TOO_MANY_REQUESTS, Json("later")).into_response(),
            "html" => (StatusCode::NOT_FOUND, Html("<p>")).into_response(),
            "status" => StatusCode::NOT_FOUND.into_response(),
            "cause" => catamaran::Error::from(std::io::Error::other("the secret")).into_response(),
            "panic" => panic!("the secret of the panic"),
            "never" => std::future::pending().await,
            "redirect" => Redirect::to("/").into_response(),
            _ => "welcome".into_response(),
        }
    }
    let app = app(&Lab::default()).on_connect(decide).timeout(Duration::from_millis(50));
    let server = Server::start(app).await;
    for (wish, words) in [
        ("answer=error", "401 Unauthorized: the token has expired"),
        ("answer=text", "403 Forbidden: not  you"),
        ("answer=json", "429 Too Many Requests: later"),
        ("answer=html", "404 Not Found"),
        ("answer=status", "404 Not Found"),
        ("answer=cause", "500 Internal Server Error"),
        ("answer=panic", "500 Internal Server Error: the action failed unexpectedly"),
        ("answer=never", "503 Service Unavailable: the action did not answer within 0.05 s"),
        ("", "400 Bad Request: Failed to deserialize query string: missing field `answer`"),
    ] {
        for version in [3, 4] {
            let mut client = by_query(&server, version, wish).await;
            assert_eq!(refusal(&client.receive().await), words);
        }
    }
    for wish in ["answer=redirect", "answer=yes"] {
        for version in [3, 4] {
            assert!(connected(&by_query(&server, version, wish).await.receive().await));
        }
    }
    // An extractor that does not like the payload refuses too.
    for (payload, words) in [
        (r#"{"token":1}"#, "422 Unprocessable Entity: Failed to deserialize the JSON body into the target type"),
        ("nonsense", "400 Bad Request: Failed to parse the request body as JSON"),
    ] {
        let mut client = connecting_with(&server, "answer=yes", payload).await;
        let said = refusal(&client.receive().await);
        assert!(said.starts_with(words), "{said}");
    }
}

/// A connection with this query, which says nothing when connecting.
async fn by_query(server: &Server, version: u8, query: &str) -> Client {
    let eio = if version == 3 { Eio::V3 } else { Eio::V4 };
    let mut client = Client::open_with_query(server.address, "/socket.io", query, eio, &[]).await;
    if eio == Eio::V4 {
        client.send("40").await;
    }
    client
}

async fn connecting_with(server: &Server, query: &str, payload: &str) -> Client {
    let mut client = Client::open_with_query(server.address, "/socket.io", query, Eio::V4, &[]).await;
    client.send(format!("40{payload}")).await;
    client
}

/// Whom the header `x-user` names.
struct User(String);

impl<S: Send + Sync> FromRequestParts<S> for User
where
    Lab: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let name = parts.headers.get("x-user").ok_or_else(|| Error::new(StatusCode::UNAUTHORIZED, "who are you?"))?;
        let name = name.to_str().expect("text").to_owned();
        Lab::from_ref(state).note(&name);
        Ok(Self(name))
    }
}

#[tokio::test]
async fn an_extractor_that_rejects_refuses() {
    async fn decide(User(name): User) -> Result<(), StatusCode> {
        if name == "eve" { Err(StatusCode::FORBIDDEN) } else { Ok(()) }
    }
    let lab = Lab::default();
    let server = Server::start(app(&lab).on_connect(decide)).await;
    for eio in EIOS {
        assert_eq!(refusal(&attempt(&server, eio, &[]).await.1), "401 Unauthorized: who are you?");
        assert_eq!(refusal(&attempt(&server, eio, &[("x-user", "eve")]).await.1), "403 Forbidden");
        let (mut ada, packet) = attempt(&server, eio, &[("x-user", "ada")]).await;
        assert!(connected(&packet));
        assert_eq!(ada.ask(&get("/me")).await.status, 200);
    }
    assert_eq!(lab.notes(), ["eve", "ada", "eve", "ada"]);
}

#[tokio::test]
async fn a_client_that_was_refused_may_ask_again_on_its_connection() {
    async fn decide(auth: Option<Json<String>>) -> Result<(), StatusCode> {
        if auth.is_some() { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }
    let server = Server::start(app(&Lab::default()).on_connect(decide)).await;
    let mut client = connecting(&server, "/socket.io", "").await;
    assert_eq!(refusal(&client.receive().await), "401 Unauthorized");
    client.send(r#"40"token""#).await;
    assert!(connected(&client.receive().await));
    assert_eq!(client.ask(&get("/log/7")).await.status, 200);
    line(&server, 1).await;
    assert_eq!(client.next().await, event(r#"["line",1]"#));
}

#[tokio::test]
async fn both_hooks_run_inside_the_layers_and_not_inside_the_rest() {
    let lab = Lab::default();
    let layer = |name: &'static str| {
        let lab = lab.clone();
        from_fn(move |request: Request, next: Next| {
            lab.note(name);
            next.run(request)
        })
    };
    async fn note(State(lab): State<Lab>, request: Request) {
        lab.note(format!("{:?}", request.extensions().get::<&str>()));
    }
    let outer = layer("map_router");
    let app = app(&lab)
        .on_connect(note)
        .layer(axum::Extension("inner"))
        .layer(layer("inner"))
        .map_router(|router| router.layer(outer))
        .layer(layer("outer"))
        .on_disconnect(note);
    let server = Server::start(app).await;
    let client = Client::connect(&server).await;
    assert_eq!(lab.notes(), ["outer", "inner", "Some(\"inner\")"]);
    drop(client);
    until("the end to be told", || lab.notes().len() == 6).await;
    assert_eq!(lab.notes()[3..], ["outer", "inner", "Some(\"inner\")"]);
}

#[tokio::test]
async fn a_layer_may_refuse() {
    let app = app(&Lab::default())
        .on_connect(async || -> () { panic!("not reached") })
        .layer(from_fn(async |_: Request, _: Next| (StatusCode::FORBIDDEN, "closed today")));
    let server = Server::start(app).await;
    for eio in EIOS {
        assert_eq!(refusal(&attempt(&server, eio, &[]).await.1), "403 Forbidden: closed today");
    }
}

#[tokio::test]
async fn cookies_of_the_hook_are_the_sockets() {
    async fn log_in() -> impl IntoResponse {
        [(header::SET_COOKIE, "sid=2; HttpOnly")]
    }
    async fn note(State(lab): State<Lab>, headers: HeaderMap) {
        lab.note(headers["cookie"].to_str().unwrap());
    }
    let lab = Lab::default();
    let server = Server::start(app(&lab).on_connect(log_in).on_disconnect(note)).await;
    for eio in EIOS {
        let mut client = Client::with(&server, eio, &[("cookie", "lang=en; sid=1")]).await;
        let me = client.ask(&get("/me")).await;
        assert!(me.json().as_str().unwrap().ends_with(" lang=en; sid=2"), "{me:?}");
    }
    until("both ends to be told", || lab.notes().len() == 2).await;
    assert_eq!(lab.notes(), ["lang=en; sid=2"; 2]);
}

async fn join(ctx: Ctx<Socket>, State(lab): State<Lab>) -> catamaran::Result {
    let outcome = ctx.subscribe(&Log { id: 7 }).await?;
    lab.note(format!("{outcome:?}"));
    ctx.publish(&Log { id: 7 }, LogEvent::Line(0)).await?;
    Ok(())
}

#[tokio::test]
async fn a_subscription_of_the_hook_is_live_once_the_client_is_connected() {
    let server = Server::start(app(&Lab::default()).on_connect(join)).await;
    for eio in EIOS {
        let mut client = Client::with(&server, eio, &[]).await;
        assert_eq!(client.receive().await, event(r#"["line",0]"#));
        line(&server, 1).await;
        assert_eq!(client.receive().await, event(r#"["line",1]"#));
        client.drop_connection();
    }
}

#[tokio::test]
async fn a_subscription_of_the_hook_resumes() {
    async fn quietly(ctx: Ctx<Socket>, State(lab): State<Lab>) -> catamaran::Result {
        let outcome = ctx.subscribe(&Log { id: 7 }).await?;
        lab.note(format!("{outcome:?}"));
        Ok(())
    }
    let lab = Lab::default();
    let server = Server::start(app(&lab).on_connect(quietly)).await;
    let payload = |number: u64, epoch: &str, offset: u64| {
        format!(
            r#"{{"catamaran":{{"client":"{ADA}","connection":{number},"resume":{{"log:7":["{epoch}",{offset}]}}}}}}"#
        )
    };
    // The stream begins with its first subscription.
    Client::connect(&server).await;
    line(&server, 1).await;
    let mut ada = connecting(&server, "/socket.io", &payload(1, "elsewhen", 9)).await;
    assert!(connected(&ada.receive().await));
    let Packet::Event(gap) = ada.receive().await else { panic!("an event") };
    let (name, channel, epoch, offset, reason): (String, String, String, u64, String) =
        serde_json::from_str(&gap).expect("a gap");
    assert_eq!((&*name, &*channel, offset, &*reason), ("$gap", "log:7", 1, "not retained"));
    line(&server, 2).await;
    assert_eq!(ada.next().await, event(r#"["$","log:7",2,"line",2]"#));

    // Two are missed, and the history has three.
    ada.drop_connection();
    line(&server, 3).await;
    line(&server, 4).await;
    let mut ada = connecting(&server, "/socket.io", &payload(2, &epoch, 2)).await;
    assert!(connected(&ada.receive().await));
    assert_eq!(ada.receive().await, event(&format!(r#"["$join","log:7","{epoch}",2]"#)));
    assert_eq!(ada.receive().await, event(r#"["$replay","log:7",[[3,"line",3],[4,"line",4]],false]"#));

    // A request for the same channel finds it there.
    assert_eq!(ada.resume("/log/7", &format!(r#"{{"log:7":["{epoch}",2]}}"#)).await.channels["log:7"][2], "recovered");
    line(&server, 5).await;
    assert_eq!(ada.next().await, event(r#"["$","log:7",5,"line",5]"#));

    // Who says nothing of the channel begins afresh.
    let mut new = Client::resuming(&server, "bob-0123456789abcdef").await;
    assert_eq!(new.receive().await, event(&format!(r#"["$join","log:7","{epoch}",5]"#)));
    assert_eq!(lab.notes(), ["Fresh", "Gap", "Recovered", "Fresh"]);
}

#[tokio::test]
async fn a_hook_that_refuses_has_subscribed_nobody() {
    async fn refuse(ctx: Ctx<Socket>, State(lab): State<Lab>) -> catamaran::Result {
        join(ctx.clone(), State(lab.clone())).await?;
        // What outlives the hook gets nothing either.
        tokio::spawn(async move {
            lab.0.gate.notified().await;
            lab.note(format!("{}", ctx.subscribe(&Log { id: 7 }).await.is_err()));
        });
        Err(Error::new(StatusCode::FORBIDDEN, "no"))
    }
    let lab = Lab::default();
    let server = Server::start(app(&lab).on_connect(refuse)).await;
    for eio in EIOS {
        let (mut client, packet) = attempt(&server, eio, &[]).await;
        assert_eq!(refusal(&packet), "403 Forbidden: no");
        lab.0.gate.notify_one();
        until("the task", || lab.notes().last().is_some_and(|note| note == "true")).await;
        assert_eq!(server.http(&get("/log/7/readers")).await.body, Body::text("0"));
        // Nothing came of it, and what it sends now is not of a socket that is there.
        client.tell(&get("/me")).await;
        assert_eq!(client.receive().await, Packet::Closed);
    }
    assert!(server.io.sockets().is_empty());
}

#[tokio::test]
async fn only_one_that_is_let_in_takes_the_place_of_the_old() {
    #[derive(Deserialize)]
    struct Auth {
        token: String,
    }
    async fn decide(Json(auth): Json<Auth>) -> Result<(), StatusCode> {
        if auth.token == "good" { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }
    let server = Server::start(app(&Lab::default()).on_connect(decide)).await;
    let payload = |token: &str| format!(r#"{{"token":"{token}","catamaran":{{"client":"{ADA}"}}}}"#);
    let mut old = connecting(&server, "/socket.io", &payload("good")).await;
    assert!(connected(&old.receive().await));
    let mut new = connecting(&server, "/socket.io", &payload("bad")).await;
    assert_eq!(refusal(&new.receive().await), "401 Unauthorized");
    assert_eq!(old.ask(&get("/me")).await.status, 200);
    let mut new = connecting(&server, "/socket.io", &payload("good")).await;
    assert!(connected(&new.receive().await));
    until_closed(&mut old).await;
}

/// Reads until the server has closed the connection, or has sent the socket away.
async fn until_closed(client: &mut Client) {
    while !matches!(client.receive().await, Packet::Closed) {}
}

#[tokio::test]
async fn a_late_connect_does_not_take_the_place_of_a_newer_one() {
    let lab = Lab::default();
    let note = async |State(lab): State<Lab>| lab.note("connect");
    let server = Server::start(app(&lab).on_connect(note)).await;
    let numbered = |number: &str| format!(r#"{{"catamaran":{{"client":"{ADA}"{number}}}}}"#);
    let mut third = connecting(&server, "/socket.io", &numbered(r#","connection":3"#)).await;
    assert!(connected(&third.receive().await));
    let mut second = connecting(&server, "/socket.io", &numbered(r#","connection":2"#)).await;
    let words = "409 Conflict: a newer connection of this client has taken its place";
    assert_eq!(refusal(&second.receive().await), words);
    assert_eq!(third.ask(&get("/me")).await.status, 200);
    assert_eq!(lab.notes(), ["connect"]);

    // Of two that were let in at the same time the newer one stays. One that does not count is as new as any.
    let mut uncounted = connecting(&server, "/socket.io", &numbered("")).await;
    assert!(connected(&uncounted.receive().await));
    until_closed(&mut third).await;
    let mut first = connecting(&server, "/socket.io", &numbered(r#","connection":1"#)).await;
    assert!(connected(&first.receive().await));
    until_closed(&mut uncounted).await;
}

#[tokio::test]
async fn of_two_that_the_hook_lets_in_the_newer_one_stays() {
    async fn slowly(State(lab): State<Lab>, Query(wait): Query<Wait>) {
        lab.note("connect");
        if wait.wait {
            lab.0.entered.notify_one();
            lab.0.gate.notified().await;
        }
    }
    #[derive(Deserialize)]
    struct Wait {
        #[serde(default)]
        wait: bool,
    }
    let lab = Lab::default();
    let gone = async |State(lab): State<Lab>| lab.note("disconnect");
    let server = Server::start(app(&lab).on_connect(slowly).on_disconnect(gone)).await;
    let numbered = |number: u64| format!(r#"{{"catamaran":{{"client":"{ADA}","connection":{number}}}}}"#);
    let mut first = connecting_with(&server, "wait=true", &numbered(1)).await;
    within("the hook", lab.0.entered.notified()).await;
    let mut second = connecting(&server, "/socket.io", &numbered(2)).await;
    assert!(connected(&second.receive().await));
    lab.0.gate.notify_one();
    assert!(refusal(&first.receive().await).starts_with("409 "));
    assert_eq!(second.ask(&get("/me")).await.status, 200);
    // The hook had let it in, so its end is told.
    until("the end to be told", || lab.notes().len() == 3).await;
    assert_eq!(lab.notes(), ["connect", "connect", "disconnect"]);
}

/// T1 with a hook that takes a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_first_request_after_a_slow_hook_is_answered() {
    let slowly = async || tokio::time::sleep(Duration::from_millis(1)).await;
    let server = Arc::new(Server::start(app(&Lab::default()).on_connect(slowly)).await);
    let mut clients = tokio::task::JoinSet::new();
    for nth in 0..64 {
        let server = server.clone();
        clients.spawn(async move {
            for _ in 0..8 {
                let mut client = Client::with(&server, EIOS[nth % 2], &[]).await;
                assert_eq!(client.ask(&get("/me")).await.status, 200);
            }
        });
    }
    within("all clients", clients.join_all()).await;
}

/// What `on_disconnect` was told.
#[derive(Debug)]
struct Gone {
    id: String,
    body: String,
    readers: usize,
}

/// An application that says whom it hears to be gone, and how many it has let in.
async fn watched() -> (Server, mpsc::UnboundedReceiver<Gone>, Arc<AtomicUsize>) {
    let (sender, gone) = mpsc::unbounded_channel();
    let let_in = Arc::new(AtomicUsize::new(0));
    let count = let_in.clone();
    let app = App::new(Lab::default())
        .mount(routes![me, watch, write, readers])
        .on_connect(async move |ctx: Ctx<Socket>| {
            ctx.subscribe(&Log { id: 7 }).await?;
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Error>(())
        })
        .on_disconnect(async move |socket: Socket, hub: Hub, uri: Uri, body: String| {
            assert!(uri.path() == "/socket.io/" && socket.handshake().uri == uri);
            assert!(socket.subscribe(&Log { id: 7 }).await.is_err());
            let readers = hub.count(&Log { id: 7 }).await.unwrap();
            sender.send(Gone { id: socket.id().to_owned(), body, readers }).unwrap();
        });
    (Server::start(app).await, gone, let_in)
}

#[tokio::test]
async fn the_end_of_a_socket_is_told_once_however_it_ends() {
    let (server, mut gone, let_in) = watched().await;
    let payload = format!(r#"{{"name":"ada","catamaran":{{"client":"{ADA}"}}}}"#);
    for way in ["it says so", "it closes", "it is cut", "it is sent away", "its client is elsewhere"] {
        let mut client = connecting(&server, "/socket.io", &payload).await;
        assert!(connected(&client.receive().await));
        let me = client.ask(&get("/me")).await;
        let id = me.json().as_str().unwrap().trim().to_owned();
        let mut next = None;
        match way {
            "it says so" => client.send("41").await,
            "it closes" => client.send("1").await,
            "it is cut" => client.drop_connection(),
            "it is sent away" => {
                let [socket] = &server.io.sockets()[..] else { panic!("one socket is connected") };
                socket.clone().disconnect().unwrap();
            }
            _ => {
                let mut other = connecting(&server, "/socket.io", &payload).await;
                assert!(connected(&other.receive().await));
                next = Some(other);
            }
        }
        let told = within(way, gone.recv()).await.unwrap();
        assert_eq!((&*told.id, &*told.body), (&*id, r#"{"name":"ada"}"#), "{way}");
        assert_eq!(told.readers, usize::from(next.is_some()), "{way}");
        if let Some(next) = next {
            next.drop_connection();
            within("the next one", gone.recv()).await.unwrap();
        }
    }
    // Of the same connection, too, and as often as it was let in.
    let mut client = Client::connect(&server).await;
    for _ in 0..3 {
        client.send("41").await;
        within("the end", gone.recv()).await.unwrap();
        client.send("40").await;
        assert!(connected(&client.receive().await));
    }
    client.drop_connection();
    within("the end", gone.recv()).await.unwrap();
    until("the sockets to be gone", || server.io.sockets().is_empty()).await;
    assert_eq!(let_in.load(Ordering::SeqCst), 10);
    assert!(gone.try_recv().is_err());
}

/// The id of a socket is its connection's, so that of the next one may be the same.
#[tokio::test]
async fn a_socket_that_is_kept_takes_nothing_from_the_next_one_with_its_id() {
    let lab = Lab::default();
    let gone = async |State(lab): State<Lab>| lab.note("gone");
    let server = Server::start(app(&lab).on_disconnect(gone)).await;
    let mut client = Client::connect(&server).await;
    let id = client.ask(&get("/me")).await;
    client.ask(&get("/keep")).await;
    client.send("41").await;
    client.send("40").await;
    assert!(connected(&client.receive().await));
    until("the end to be told", || lab.notes() == ["gone"]).await;
    assert_eq!(client.ask(&get("/me")).await, id);
    lab.0.kept.lock().unwrap().take();
    assert_eq!(client.ask(&get("/echo")).await.body, Body::text("true"));
    assert_eq!(lab.notes(), ["gone"]);
}

#[tokio::test]
async fn a_heartbeat_that_stops_is_an_end() {
    let beat = Duration::from_millis(100);
    let (sender, mut gone) = mpsc::unbounded_channel();
    let app = App::new(())
        .heartbeat(beat, beat)
        .on_disconnect(async move |socket: Socket| sender.send(socket.id().to_owned()).unwrap());
    let server = Server::start(app).await;
    for eio in EIOS {
        let _silent = Client::with(&server, eio, &[]).await;
        within("the end", gone.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_socket_that_leaves_while_the_hook_runs_is_told_of_and_leaves_nothing() {
    let lab = Lab::default();
    let slowly = async |ctx: Ctx<Socket>, State(lab): State<Lab>| {
        ctx.subscribe(&Log { id: 7 }).await?;
        lab.0.entered.notify_one();
        lab.0.gate.notified().await;
        lab.note("let in");
        Ok::<_, Error>(())
    };
    let gone = async |socket: Socket, State(lab): State<Lab>| lab.note(socket.handshake().uri.path());
    let server = Server::start(app(&lab).on_connect(slowly).on_disconnect(gone)).await;
    for eio in EIOS {
        let mut client = Client::open(server.address, "/socket.io", eio, &[]).await;
        if eio == Eio::V4 {
            client.send("40").await;
        }
        within("the hook", lab.0.entered.notified()).await;
        // Closed politely, so that the server answers when it has seen it.
        client.send("1").await;
        assert_eq!(client.receive().await, Packet::Closed);
        lab.0.gate.notify_one();
        until("the end to be told", || lab.notes().len() == 2).await;
        assert_eq!(std::mem::take(&mut *lab.0.notes.lock().unwrap()), ["let in", "/socket.io/"]);
        assert_eq!(server.http(&get("/log/7/readers")).await.body, Body::text("0"));
    }
    assert!(server.io.sockets().is_empty());
}

#[tokio::test]
async fn nobody_is_told_of_one_that_was_refused() {
    let lab = Lab::default();
    let gone = async |State(lab): State<Lab>, headers: HeaderMap| lab.note(headers["x-user"].to_str().unwrap());
    let decide = async |headers: HeaderMap| {
        if headers["x-user"] == "eve" { StatusCode::FORBIDDEN } else { StatusCode::OK }
    };
    let server = Server::start(app(&lab).on_connect(decide).on_disconnect(gone)).await;
    for eio in EIOS {
        let (eve, packet) = attempt(&server, eio, &[("x-user", "eve")]).await;
        assert_eq!(refusal(&packet), "403 Forbidden");
        eve.drop_connection();
        let (ada, _) = attempt(&server, eio, &[("x-user", "ada")]).await;
        ada.drop_connection();
    }
    until("both ends to be told", || lab.notes().len() == 2).await;
    assert_eq!(lab.notes(), ["ada", "ada"]);
}

#[tokio::test]
async fn what_hears_of_an_end_outlives_the_requests_of_its_socket_and_has_an_end_itself() {
    static GATE: Semaphore = Semaphore::const_new(0);
    struct Dropped(Lab);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.note("dropped");
        }
    }
    let lab = Lab::default();
    let gone = async |State(lab): State<Lab>| {
        let _dropped = Dropped(lab.clone());
        lab.note("begun");
        tokio::task::yield_now().await;
        let _never = GATE.acquire().await;
        lab.note("not reached");
    };
    let server = Server::start(app(&lab).on_disconnect(gone).timeout(Duration::from_millis(50))).await;
    Client::connect(&server).await.drop_connection();
    until("the hook to be cut off", || lab.notes().len() == 2).await;
    assert_eq!(lab.notes(), ["begun", "dropped"]);
    // A panic harms nobody.
    let server =
        Server::start(App::new(()).mount(routes![me]).on_disconnect(async || -> () { panic!("the secret") })).await;
    Client::connect(&server).await.drop_connection();
    until("the socket to be gone", || server.io.sockets().is_empty()).await;
    assert_eq!(Client::connect(&server).await.ask(&get("/me")).await.status, 200);
}

#[tokio::test]
async fn a_second_hook_replaces_the_first() {
    let server = Server::start(
        App::new(()).mount(routes![me]).on_connect(async || StatusCode::FORBIDDEN).on_connect(async || ()),
    )
    .await;
    assert_eq!(Client::connect(&server).await.ask(&get("/me")).await.status, 200);
}
