//! Requests that a page of another site sends in its user's name are refused before they do anything, over both transports.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body as HttpBody, to_bytes},
    extract::State,
    http::{Request, StatusCode},
    routing::any,
};
use catamaran::{App, Origins, action, controller, routes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;

use crate::support::{Ask, Body, Client, Eio, Embedded, Server, http, post, within};

/// How many requests reached an action or a route.
type Reached = Arc<AtomicUsize>;

#[controller("/notes")]
mod notes {
    use super::*;

    fn count(reached: &Reached) -> &'static str {
        reached.fetch_add(1, Ordering::SeqCst);
        "notes"
    }

    #[action(get "/")]
    pub(super) async fn list(State(reached): State<Reached>) -> &'static str {
        count(&reached)
    }

    #[action(post "/")]
    pub(super) async fn add(State(reached): State<Reached>) -> &'static str {
        count(&reached)
    }

    #[action(put "/")]
    pub(super) async fn replace(State(reached): State<Reached>) -> &'static str {
        count(&reached)
    }

    #[action(patch "/")]
    pub(super) async fn change(State(reached): State<Reached>) -> &'static str {
        count(&reached)
    }

    #[action(delete "/")]
    pub(super) async fn remove(State(reached): State<Reached>) -> &'static str {
        count(&reached)
    }
}

/// A login that comes back from another site.
#[action(post "/login/{provider}/callback")]
async fn callback(provider: String) -> String {
    provider
}

const NAMED: &str = "https://app.example.com";
const OTHER: &str = "https://evil.example";
const CALLBACK: &str = "/login/{provider}/callback";

/// An application of actions, a merged route, a nested one, and a fallback.
fn app(origins: Origins, reached: &Reached) -> App<Reached> {
    let count = {
        let reached = reached.clone();
        move || {
            reached.fetch_add(1, Ordering::SeqCst);
            async { "" }
        }
    };
    let merged = Router::new().route("/merged", any(count.clone()));
    let nested = Router::new().route("/deep", any(count.clone()));
    App::new(reached.clone())
        .mount(routes![notes, callback])
        .merge(merged)
        .map_router(|ours| ours.nest("/nested", nested))
        .fallback(count)
        .origins(origins)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Same,
    Named,
    Any,
}

impl Setting {
    fn origins(self) -> Origins {
        match self {
            Self::Same => Origins::same(),
            Self::Named => Origins::same().and(NAMED),
            Self::Any => Origins::any(),
        }
    }
}

/// Whose page a request says it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Absent,
    Own,
    Named,
    Other,
    Null,
    Several,
}

const ORIGINS: [Origin; 6] = [Origin::Absent, Origin::Own, Origin::Named, Origin::Other, Origin::Null, Origin::Several];
const FETCHED: [Option<&str>; 6] =
    [None, Some("same-origin"), Some("none"), Some("same-site"), Some("cross-site"), Some("unheard-of")];

/// The headers of a page.
fn headers(server: &Server, fetched: Option<&'static str>, origin: Origin) -> Vec<(&'static str, String)> {
    let own = format!("http://{}", server.address);
    let origins = match origin {
        Origin::Absent => vec![],
        Origin::Own => vec![own],
        Origin::Named => vec![NAMED.to_owned()],
        Origin::Other => vec![OTHER.to_owned()],
        Origin::Null => vec!["null".to_owned()],
        Origin::Several => vec![own, OTHER.to_owned()],
    };
    let origins = origins.into_iter().map(|origin| ("origin", origin));
    origins.chain(fetched.map(|site| ("sec-fetch-site", site.to_owned()))).collect()
}

/// Whether an origin may do anything here.
fn is_let_in(setting: Setting, origin: Origin) -> bool {
    match origin {
        Origin::Named => setting != Setting::Same,
        Origin::Own | Origin::Other => setting == Setting::Any,
        Origin::Absent => setting == Setting::Any,
        Origin::Null | Origin::Several => false,
    }
}

/// The rule, in the words of its documentation.
fn passes(setting: Setting, method: &str, fetched: Option<&str>, origin: Origin) -> bool {
    if ["get", "head", "options"].contains(&method) {
        return true;
    }
    match fetched {
        Some("same-origin" | "none") => true,
        Some(_) => is_let_in(setting, origin),
        None => matches!(origin, Origin::Absent | Origin::Own) || is_let_in(setting, origin),
    }
}

/// Whether a page may open a socket, which its origin decides.
fn connects(setting: Setting, fetched: Option<&str>, origin: Origin) -> bool {
    match origin {
        Origin::Absent => setting == Setting::Any || !matches!(fetched, Some("same-site" | "cross-site")),
        Origin::Own => true,
        origin => is_let_in(setting, origin),
    }
}

const BODIES: [(Option<&str>, &str); 5] = [
    (None, ""),
    (Some("application/json"), r#"{"a":1}"#),
    (Some("application/x-www-form-urlencoded"), "a=1"),
    (Some("text/plain"), r#"{"a":1}"#),
    (Some("multipart/form-data; boundary=b"), "--b\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--b--\r\n"),
];
const METHODS: [&str; 7] = ["get", "head", "options", "post", "put", "patch", "delete"];
const PATHS: [&str; 4] = ["/notes", "/merged", "/nested/deep", "/missing"];

/// What came of a request.
struct Recovery {
    status: u16,
    body: String,
    /// How many requests had reached a route before and after it.
    reached: (usize, usize),
}

impl Recovery {
    /// Asserts that the request was refused and reached nothing, or passed.
    fn check(&self, passes: bool, case: &dyn std::fmt::Debug) {
        assert_eq!(self.status == 403, !passes, "{case:?}: {}", self.body);
        if !passes {
            assert!(self.body.starts_with(r#"{"code":"cross_site_refused","message":"#), "{case:?}: {}", self.body);
            assert_eq!(self.reached.0, self.reached.1, "{case:?}: a refused request reaches nothing");
        }
    }
}

/// Asks the router itself, since a connection for each of some thousand requests takes long.
async fn over_http(router: &Router, ask: &Ask, reached: &Reached) -> Recovery {
    let mut request = Request::builder().method(&*ask.method.to_uppercase()).uri(&ask.url);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let body = ask.data.clone().map_or_else(HttpBody::empty, HttpBody::from);
    let before = reached.load(Ordering::SeqCst);
    let Ok(response) = router.clone().oneshot(request.body(body).expect("a request")).await;
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 10_000).await.expect("a whole body");
    let body = String::from_utf8(bytes.into()).expect("text");
    Recovery { status, body, reached: (before, reached.load(Ordering::SeqCst)) }
}

async fn over_socket(client: &mut Client, ask: &Ask, reached: &Reached) -> Recovery {
    let before = reached.load(Ordering::SeqCst);
    let answer = client.ask(ask).await;
    let body = match answer.body {
        Body::Json(text) => text,
        Body::None | Body::Bytes(_) => String::new(),
    };
    Recovery { status: answer.status, body, reached: (before, reached.load(Ordering::SeqCst)) }
}

#[tokio::test]
async fn each_kind_of_request_is_decided_by_its_page() {
    for setting in [Setting::Same, Setting::Named, Setting::Any] {
        let reached = Reached::default();
        let server = Server::start(app(setting.origins(), &reached)).await;
        let router = app(setting.origins(), &reached).into_router().expect("the application is well formed");
        for (fetched, origin) in FETCHED.iter().flat_map(|fetched| ORIGINS.map(|origin| (*fetched, origin))) {
            let headers = headers(&server, fetched, origin);
            let asks = METHODS.iter().flat_map(|method| PATHS.map(|path| Ask::new(method, path)));
            for ask in asks.clone() {
                let passes = passes(setting, ask.method, fetched, origin);
                for (content_type, body) in BODIES {
                    let mut ask = ask.clone().header("host", &server.address.to_string());
                    ask.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
                    if let Some(content_type) = content_type {
                        ask = ask.header("content-type", content_type).data(body);
                    }
                    over_http(&router, &ask, &reached).await.check(passes, &(setting, ask));
                }
            }
            if !connects(setting, fetched, origin) {
                continue;
            }
            let handshake: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
            let mut client = Client::with(&server, Eio::V4, &handshake).await;
            for ask in asks {
                let passes = passes(setting, ask.method, fetched, origin);
                // A packet cannot claim to be from elsewhere.
                let claims = ask.clone().header("origin", OTHER).header("sec-fetch-site", "same-origin");
                for ask in [claims, ask.clone().data(r#"{"a":1}"#), ask] {
                    let outcome = over_socket(&mut client, &ask, &reached).await;
                    outcome.check(passes, &(setting, fetched, origin, ask));
                }
            }
        }
    }
}

#[tokio::test]
async fn unknown_methods_are_checked_too() {
    let reached = Reached::default();
    let server = Server::start(app(Origins::same(), &reached)).await;
    for method in ["TRACE", "PURGE", "PROPFIND", "get", "Post"] {
        let request = Request::builder().method(method).uri("/merged").header("host", "a.example");
        let answer = server.send(request.header("origin", OTHER).body(HttpBody::empty()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method}");
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn refusal_comes_before_the_body_is_read() {
    let server = Server::start(app(Origins::same(), &Reached::default())).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head =
        format!("POST /notes HTTP/1.1\r\nhost: {}\r\norigin: {OTHER}\r\ncontent-length: 1000\r\n\r\n", server.address);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within("the answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn refusal_says_how_to_allow_it() {
    let server = Server::start(app(Origins::same(), &Reached::default())).await;
    let answer = server.http(&post("/notes", "{}").header("origin", OTHER)).await;
    let message = answer.message();
    for part in ["POST", "App::origins", "Origins::same().and(\"https://evil.example\")", "App::allow_cross_site"] {
        assert!(message.contains(part), "{message}");
    }
    let long = format!("https://{}.example", "x".repeat(5000));
    let message = server.http(&post("/notes", "{}").header("origin", &long)).await.message();
    assert!(message.len() < 1000, "{message}");
}

#[tokio::test]
async fn exempt_route_takes_requests_of_any_page() {
    let app = app(Origins::same(), &Reached::default()).allow_cross_site([CALLBACK]);
    let server = Server::start(app).await;
    for (url, status) in [
        ("/login/acme/callback", 200),
        ("/login/acme/callback?code=1", 200),
        ("/login/acme/callback/", 403),
        ("/login/%61cme/callback", 200),
        ("/log%69n/acme/callback", 403),
        ("/notes", 403),
        ("/missing", 403),
    ] {
        let ask = Ask::new("post", url).header("origin", OTHER).header("sec-fetch-site", "cross-site");
        assert_eq!(server.http(&ask).await.status, status, "{url}");
    }
    // The page is same-site, so its browser lets the handshake's cookies through; the exemption is the route's there too.
    let own = format!("http://{}", server.address);
    let mut client = Client::with(&server, Eio::V4, &[("origin", &own), ("sec-fetch-site", "same-site")]).await;
    assert_eq!(client.ask(&Ask::new("post", "/login/acme/callback")).await.status, 200);
    assert_eq!(client.ask(&Ask::new("post", "/notes")).await.status, 403);
}

#[tokio::test]
async fn router_of_another_server_is_checked_too() {
    let embedded = Embedded::start(app(Origins::same(), &Reached::default())).await;
    let own = format!("http://{}", embedded.address);
    for (origin, status) in [(OTHER, 403), (&*own, 200)] {
        assert_eq!(http(embedded.address, &post("/notes", "{}").header("origin", origin)).await.status, status);
    }
}

#[tokio::test]
async fn host_and_scheme_are_those_of_a_trusted_proxy() {
    let trusting = app(Origins::same(), &Reached::default()).trusted_proxies(["127.0.0.1"]);
    let trusting = Server::start(trusting).await;
    let alone = Server::start(app(Origins::same(), &Reached::default())).await;
    let public = "https://app.example";
    let proxy = [("host", "10.0.0.1:1337"), ("x-forwarded-host", "app.example"), ("x-forwarded-proto", "https")];
    for (server, origin, may) in [
        (&trusting, public, true),
        (&trusting, "http://app.example", false),
        (&trusting, "http://10.0.0.1:1337", false),
        (&trusting, OTHER, false),
        (&alone, public, false),
        (&alone, "http://10.0.0.1:1337", true),
    ] {
        let headers: Vec<_> = proxy.into_iter().chain([("origin", origin)]).collect();
        let ask = post("/notes", "{}");
        let over_http = headers.iter().fold(ask.clone(), |ask, (name, value)| ask.header(name, value));
        assert_eq!(server.http(&over_http).await.status == 200, may, "{headers:?}");
        if may && origin == public {
            // The test's client sends its own `Host`, which the proxy's header outranks.
            let headers: Vec<_> = headers.into_iter().filter(|(name, _)| *name != "host").collect();
            let answer = Client::with(server, Eio::V4, &headers).await.ask(&ask).await;
            assert_eq!(answer.status, 200, "{headers:?}");
        }
    }
}

/// A page of a known origin whose browser says that it is of another site: one that came over plain HTTP, say.
#[tokio::test]
async fn socket_of_another_site_reads_and_does_not_write() {
    let server = Server::start(app(Origins::same(), &Reached::default())).await;
    let own = format!("http://{}", server.address);
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&server, eio, &[("origin", &own), ("sec-fetch-site", "cross-site")]).await;
        assert_eq!(client.ask(&Ask::new("get", "/notes")).await.status, 200);
        assert_eq!(client.ask(&post("/notes", "{}")).await.status, 403);
    }
}
