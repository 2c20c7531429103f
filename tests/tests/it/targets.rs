//! The host and the path of a request: each has one meaning, over HTTP and over a socket.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Path, routing::any};
use catamaran::{App, Origins, action, controller, routes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Client, Eio, Embedded, Server, get, within};

#[controller("/größen/<alle>s")]
mod sizes {
    use super::*;

    #[action(get "/{größe}")]
    pub(crate) async fn size(größe: String) -> String {
        größe
    }

    #[action(post "/callback")]
    pub(crate) async fn callback() -> &'static str {
        "called"
    }
}

/// An application that counts what runs.
fn app() -> (App<()>, Arc<AtomicUsize>) {
    let runs = Arc::<AtomicUsize>::default();
    let counter = runs.clone();
    let rest = any(move |Path(rest): Path<String>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move { rest }
    });
    let app = App::new(()).mount(routes![sizes]).merge(Router::new().route("/{*rest}", rest)).health();
    (app, runs)
}

/// The status line of the answer to these lines.
async fn status(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    let head = format!("{}\r\nconnection: close\r\n\r\n", head.replace('\n', "\r\n"));
    stream.write_all(head.as_bytes()).await.expect("an open connection");
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer)).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn request_without_one_host_runs_nothing() {
    let (app_served, served_runs) = app();
    let (app_embedded, embedded_runs) = app();
    let (served, embedded) = (Server::start(app_served).await, Embedded::with_peers(app_embedded).await);
    for (address, runs) in [(served.address, served_runs), (embedded.address, embedded_runs)] {
        for path in ["/a", "/missing/x", "/socket.io/?EIO=4&transport=polling"] {
            for head in ["HTTP/1.1", "HTTP/1.1\nhost: a\nhost: a", "HTTP/1.1\nhost: a\nhost: b", "HTTP/1.1\nhost: a/b"]
            {
                assert_eq!(status(address, &format!("GET {path} {head}")).await, "400", "{path} {head}");
            }
        }
        for host in ["", "\nhost: b.example", "\nhost: a.example:80", "\nhost:"] {
            assert_eq!(status(address, &format!("GET http://a.example/a HTTP/1.1{host}")).await, "400", "{host}");
        }
        assert_eq!(status(address, "GET /a HTTP/1.0\nhost: a\nhost: a").await, "400");
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        for head in ["HTTP/1.0", "HTTP/1.1\nhost: a", "HTTP/1.1\nhost: [::1]:1", "HTTP/1.1\nhost:", "HTTP/1.0\nhost: a"]
        {
            assert_eq!(status(address, &format!("GET /a {head}")).await, "200", "{head}");
        }
        assert_eq!(status(address, "GET http://a.example/a HTTP/1.1\nhost: A.example").await, "200");
        assert_eq!(runs.load(Ordering::Relaxed), 6);
    }
    for path in ["/catamaran.io.js", "/health/live"] {
        assert_eq!(status(served.address, &format!("GET {path} HTTP/1.1")).await, "400", "{path}");
    }
}

/// Such a router cannot tell a request that a server read from one that a test made.
#[tokio::test]
async fn router_without_peers_trusts_no_missing_host() {
    let (app, runs) = app();
    let embedded = Embedded::start(app.origins(Origins::same())).await;
    let status = async |head: &str| status(embedded.address, head).await;
    for line in ["GET /a", "POST /a", "GET /socket.io/?EIO=4&transport=polling"] {
        for hosts in ["host: a\nhost: a", "host: a\nhost: b", "host: a/b"] {
            assert_eq!(status(&format!("{line} HTTP/1.1\n{hosts}")).await, "400", "{line} {hosts}");
        }
    }
    // A page has an origin, which is that of no host.
    for line in ["POST /a", "GET /socket.io/?EIO=4&transport=polling"] {
        for origin in ["http://a", "http://127.0.0.1", "null"] {
            let head = format!("{line} HTTP/1.1\norigin: {origin}\ncontent-length: 0");
            assert_eq!(status(&head).await, "403", "{line} {origin}");
        }
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(status("GET /a HTTP/1.1").await, "200");
}

#[tokio::test]
async fn path_with_two_slashes_at_its_start_runs_nothing() {
    let (app, runs) = app();
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    for path in ["//a//b", "//", "//socket.io/?EIO=4", "/\\a"] {
        assert_eq!(status(server.address, &format!("GET {path} HTTP/1.1\nhost: a")).await, "400", "{path}");
        assert_eq!(client.ask(&get(path)).await.status, 400, "{path}");
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    let over_http = server.http(&get("/a//b")).await;
    assert_eq!((over_http.status, &over_http.body), (200, &client.ask(&get("/a//b")).await.body));
}

#[tokio::test]
async fn route_with_encoded_characters_is_reached() {
    let (app, _) = app();
    let paths: Vec<_> = app.routes().map(|route| (route.path, route.params)).collect();
    let (sizes, none) = ("/gr%C3%B6%C3%9Fen/%3Calle%3Es", &[][..]);
    assert_eq!(paths, [(&*format!("{sizes}/{{größe}}"), &["größe"][..]), (&*format!("{sizes}/callback"), none)]);
    let server = Server::start(app.allow_cross_site(["/größen/<alle>s/callback"])).await;
    let encoded = get(format!("{sizes}/%C3%A9"));
    assert_eq!(server.http(&encoded).await.json(), "é");
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[]).await;
        assert_eq!(client.ask(&encoded).await.json(), "é");
        assert_eq!(client.ask(&get("/größen/<alle>s/é")).await.json(), "é");
    }
    let head = format!("POST {sizes}/callback HTTP/1.1\nhost: a\norigin: http://other.example\ncontent-length: 0");
    assert_eq!(status(server.address, &head).await, "200");
}

#[test]
fn encoded_spelling_of_a_route_is_a_duplicate() {
    #[action(get "/größe")]
    async fn one() {}
    #[action(get "/gr%C3%B6%C3%9Fe")]
    async fn other() {}
    let clash = App::new(()).mount(routes![one]).mount(routes![other]).into_router().unwrap_err().to_string();
    assert!(clash.contains("duplicate route `GET /gr%C3%B6%C3%9Fe`") && clash.contains("other"), "{clash}");
}
