//! The address of a client, over both transports, with proxies and without.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use catamaran::{App, ClientAddr, ServeError, action, routes};
use socketioxide::extract::SocketRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Body, Client, Eio, Embedded, Packet, Server, get, http, within};

#[action(get "/ip")]
async fn ip(ClientAddr(address): ClientAddr) -> String {
    address.to_string()
}

fn app(proxies: &[&str]) -> App<()> {
    App::new(()).mount(routes![ip]).trusted_proxies(proxies.iter().copied())
}

/// The address that the server sees over HTTP, and over a socket with the same headers, which must be equal.
async fn seen(server: &Server, headers: &[(&str, &str)]) -> Body {
    let ask = headers.iter().fold(get("/ip"), |ask, (name, value)| ask.header(name, value));
    let over_http = server.http(&ask).await.body;
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(server, eio, headers).await;
        assert_eq!(client.ask(&get("/ip")).await.body, over_http, "{headers:?}");
        // What a packet says of it is dropped.
        let lie = get("/ip").header("x-forwarded-for", "9.9.9.9").header("Forwarded", "for=9.9.9.9");
        assert_eq!(client.ask(&lie).await.body, over_http, "{headers:?}");
    }
    over_http
}

/// The cases of Sails' tests of `req.ip`, with networks in place of its number of hops, and those it leaves out.
#[tokio::test]
async fn both_transports_see_one_address() {
    let nobody = Server::start(app(&[])).await;
    let others = Server::start(app(&["10.0.0.0/8", "::1"])).await;
    let nearest = Server::start(app(&["127.0.0.1"])).await;
    let two = Server::start(app(&["127.0.0.0/8", "12.34.56.78"])).await;
    let nearest_forwarded = Server::start(app(&["127.0.0.1"]).client_addr_header("forwarded")).await;
    let two_forwarded = Server::start(app(&["127.0.0.0/8", "12.34.56.78"]).client_addr_header("Forwarded")).await;
    let real_ip = Server::start(app(&["127.0.0.1"]).client_addr_header("x-real-ip")).await;
    let listed: &[_] = &[("x-forwarded-for", "1.2.3.4,5.6.7.8,12.34.56.78")];
    let forwarded: &[_] = &[("forwarded", "for=1.2.3.4, for=\"[2001:db8::1]:4711\", for=12.34.56.78")];
    let single: &[_] = &[("x-real-ip", "5.6.7.8"), ("x-forwarded-for", "1.2.3.4, 127.0.0.1")];
    for (server, headers, expected) in [
        (&nobody, &[] as &[_], "127.0.0.1"),
        (&nobody, listed, "127.0.0.1"),
        (&nobody, forwarded, "127.0.0.1"),
        (&others, listed, "127.0.0.1"),
        (&nearest, &[], "127.0.0.1"),
        (&nearest, listed, "12.34.56.78"),
        (&nearest_forwarded, forwarded, "12.34.56.78"),
        (&two, listed, "5.6.7.8"),
        (&two_forwarded, forwarded, "2001:db8::1"),
        (&real_ip, single, "5.6.7.8"),
    ] {
        assert_eq!(seen(server, headers).await, Body::text(expected), "{headers:?}");
    }
}

/// Sends bytes as they are, and returns the answer.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    stream.write_all(request).await.expect("an open connection");
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer)).await.expect("bytes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A byte that is no ASCII, in the part of the list that the client wrote, must not hide what the proxy added.
#[tokio::test]
async fn a_byte_of_a_client_hides_no_address() {
    let server = Server::start(app(&["127.0.0.1"])).await;
    for said in [&b"\xe9"[..], b"1.2.3.4\xff", b"\x80, 1.2.3.4", b"\xe9\r\nX-Forwarded-For: \xe9"] {
        let head = b"GET /ip HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: ";
        let answer = raw(server.address, &[&head[..], said, b", 203.0.113.9\r\n\r\n"].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("203.0.113.9"), "{answer}");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_believed_is_refused() {
    let listed = Server::start(app(&["127.0.0.1"])).await;
    let forwarded = Server::start(app(&["127.0.0.1"]).client_addr_header("forwarded")).await;
    let real_ip = Server::start(app(&["127.0.0.1"]).client_addr_header("x-real-ip")).await;
    for (server, headers, reason) in [
        (&listed, &[("x-forwarded-for", "1.2.3.4, unknown")] as &[_], "`x-forwarded-for`"),
        (&listed, &[("x-forwarded-for", "")], "`x-forwarded-for`"),
        (&listed, &[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=5.6.7.8")], "let the proxy clear the one"),
        (&listed, &[("forwarded", "for=5.6.7.8")], "`App::client_addr_header`"),
        (&forwarded, &[("forwarded", "for=_hidden")], "`forwarded`"),
        (&forwarded, &[("x-forwarded-for", "5.6.7.8")], "`App::client_addr_header`"),
        (&real_ip, &[("x-real-ip", "1.2.3.4"), ("x-real-ip", "5.6.7.8")], "`x-real-ip`"),
        (&real_ip, &[("x-forwarded-for", "5.6.7.8")], "`App::client_addr_header`"),
    ] {
        for ask in [get("/ip"), get("/socket.io/?EIO=4&transport=websocket")] {
            let answer = server.http(&headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (400, Some("forwarded_refused")),
                "{headers:?}"
            );
            assert!(answer.message().contains(reason), "{headers:?}: {}", answer.message());
        }
    }
}

/// Lets one address in.
async fn connected(ClientAddr(address): ClientAddr) -> StatusCode {
    if address == IpAddr::from([1, 2, 3, 4]) { StatusCode::OK } else { StatusCode::FORBIDDEN }
}

#[tokio::test]
async fn the_application_decides_by_the_address_who_may_connect() {
    let server = Server::start(app(&["127.0.0.1"]).on_connect(connected)).await;
    for (address, answer) in [("1.2.3.4", "40{"), ("5.6.7.8", r#"44{"message":"403 Forbidden"}"#)] {
        let mut client = Client::open(server.address, "/socket.io", Eio::V4, &[("x-forwarded-for", address)]).await;
        client.send("40").await;
        let received = client.receive().await;
        assert!(matches!(&received, Packet::Other(text) if text.starts_with(answer)), "{address}: {received:?}");
    }
}

/// Lets each address ask twice.
#[derive(Clone, Default)]
struct Limit(Arc<Mutex<HashMap<ClientAddr, u32>>>);

async fn limit(State(Limit(seen)): State<Limit>, client: ClientAddr, request: Request, next: Next) -> Response {
    let asked = {
        let mut seen = seen.lock().unwrap();
        let asked = seen.entry(client).or_default();
        *asked += 1;
        *asked
    };
    if asked > 2 { StatusCode::TOO_MANY_REQUESTS.into_response() } else { next.run(request).await }
}

#[tokio::test]
async fn a_rate_limit_by_address_counts_both_transports() {
    let app = app(&["127.0.0.1"]).layer(from_fn_with_state(Limit::default(), limit));
    let server = Server::start(app).await;
    let from = |address| [("x-forwarded-for", address)];
    let mut ada = Client::with(&server, Eio::V4, &from("1.2.3.4")).await;
    let over_http = get("/ip").header("x-forwarded-for", "1.2.3.4");
    assert_eq!(ada.ask(&get("/ip")).await.status, 200);
    assert_eq!(server.http(&over_http).await.status, 200);
    assert_eq!(ada.ask(&get("/ip")).await.status, 429);
    assert_eq!(server.http(&over_http).await.status, 429);
    let mut bob = Client::with(&server, Eio::V4, &from("5.6.7.8")).await;
    assert_eq!(bob.ask(&get("/ip")).await.status, 200);
}

#[tokio::test]
async fn the_handshake_itself_says_the_address() {
    let app = app(&["127.0.0.1"]).socketio(|io| {
        io.ns("/own", async |socket: SocketRef| {
            let mut handshake = socket.req_parts().clone();
            let client = ClientAddr::from_request_parts(&mut handshake, &()).await;
            let _ = socket.emit("from", &client.map_err(|error| error.message().to_owned()).unwrap().to_string());
        });
    });
    let server = Server::start(app).await;
    let mut client = Client::with(&server, Eio::V4, &[("x-forwarded-for", "1.2.3.4")]).await;
    client.send("40/own,").await;
    assert!(matches!(client.next().await, Packet::Other(text) if text.starts_with("40/own,")));
    assert_eq!(client.next().await, Packet::Event(r#"/own,["from","1.2.3.4"]"#.into()));
}

#[tokio::test]
async fn a_router_of_its_own_needs_to_know_its_peers() {
    let knowing = Embedded::with_peers(app(&["127.0.0.1"])).await;
    let answer = http(knowing.address, &get("/ip").header("x-forwarded-for", "1.2.3.4")).await;
    assert_eq!(answer.body, Body::text("1.2.3.4"));
    let mut client = Client::open(knowing.address, "/socket.io", Eio::V3, &[("x-forwarded-for", "1.2.3.4")]).await;
    client.enter().await;
    assert_eq!(client.ask(&get("/ip")).await.body, Body::text("1.2.3.4"));

    let ignorant = Embedded::start(app(&["127.0.0.1"])).await;
    let mut client = Client::open(ignorant.address, "/socket.io", Eio::V3, &[]).await;
    client.enter().await;
    for answer in [http(ignorant.address, &get("/ip")).await, client.ask(&get("/ip")).await] {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("no_client_address")));
        assert!(answer.message().contains("`into_make_service_with_connect_info::<SocketAddr>()`"));
    }
}

#[tokio::test]
async fn a_proxy_that_is_no_network_is_refused_at_start() {
    let refused = app(&["127.0.0.1", "proxy.example"]).into_router().unwrap_err();
    assert!(matches!(refused, ServeError::Setting(_)));
    let text = refused.to_string();
    assert!(text.contains("\"proxy.example\" is neither") && text.contains("\"10.0.0.0/8\""), "{text}");
}
