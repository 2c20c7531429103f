//! Every extractor of catamaran, in an `App` and in a router that no `App` prepares.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Write},
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{
    Extension, Router,
    body::{Body as HttpBody, to_bytes},
    extract::connect_info::MockConnectInfo,
    http::Request,
    routing::get,
};
use catamaran::{App, AuthExpiry, ClientAddr, Ctx, Http, Hub, Params, Socket};
use serde_json::Value;
use tower::ServiceExt;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::support::{self, Client, Server};

/// What an extractor answers in an `App`, over HTTP and over a socket.
type Inside = (u16, u16);

/// Each extractor: its name in the log, what it answers inside, and a router whose only route takes it.
///
/// One without a name reads nothing that an `App` prepares.
fn extractors() -> Vec<(Option<&'static str>, Inside, Router)> {
    macro_rules! all {
        ($($name:expr, $inside:expr, $extractor:ty;)*) => {
            vec![$(($name, $inside, Router::new().route("/", get(async |_: $extractor| {})))),*]
        };
    }
    all! {
        Some("Hub"), (200, 200), Hub;
        Some("Ctx"), (200, 200), Ctx;
        Some("Ctx"), (426, 200), Ctx<Socket>;
        Some("Ctx"), (200, 400), Ctx<Http>;
        Some("Socket"), (426, 200), Socket;
        Some("Option<Socket>"), (200, 200), Option<Socket>;
        Some("AuthExpiry"), (200, 200), AuthExpiry;
        Some("ClientAddr"), (200, 200), ClientAddr;
        None, (200, 200), Params<Value>;
    }
}

async fn asked(router: Router) -> (u16, Value) {
    let request = Request::get("/").body(HttpBody::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn extractor_outside_an_app_is_refused_and_logged() {
    for (name, _, router) in extractors() {
        let errors = Errors::default();
        let listening = tracing_subscriber::registry().with(errors.clone()).set_default();
        // A peer is known, so that nothing else is missing.
        let router = router.layer(MockConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 7))));
        let (status, body) = asked(router).await;
        drop(listening);
        let Some(name) = name else {
            assert_eq!((status, errors.take()), (200, Vec::<String>::new()));
            continue;
        };
        assert_eq!((status, body["code"].as_str()), (500, Some("outside_app")), "{name}");
        let [line] = &errors.take()[..] else { panic!("one line about `{name}`") };
        for words in [&*format!("`{name}`"), "App::merge", "App::layer", "extensions"] {
            assert!(line.contains(words), "{line}");
        }
    }
}

#[tokio::test]
async fn extractor_inside_an_app_answers_both_transports() {
    for (name, expected, router) in extractors() {
        let server = Server::start(App::new(()).merge(router)).await;
        let over_http = server.http(&support::get("/")).await.status;
        let over_a_socket = Client::connect(&server).await.ask(&support::get("/")).await.status;
        assert_eq!((over_http, over_a_socket), expected, "{name:?}");
    }
}

/// What a test of a router without an `App` does.
#[tokio::test]
async fn hub_as_an_extension_makes_extractors_work() {
    for (name, (over_http, _), router) in extractors() {
        let peer = MockConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 7)));
        let (status, _) = asked(router.layer(Extension(Hub::default())).layer(peer)).await;
        assert_eq!(status, over_http, "{name:?}");
    }
}

/// A new extractor stands in the list above, or this fails.
#[test]
fn list_has_every_extractor_of_the_source() {
    let mut found = BTreeSet::new();
    implementors(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src"), &mut found);
    // Not an application's: a parameter of a route, and what stands for any extractor.
    for inner in ["P", "Param", "T"] {
        found.remove(inner);
    }
    let listed = ["AuthExpiry", "ClientAddr", "Ctx", "Hub", "Params", "Socket"];
    assert_eq!(found, listed.map(str::to_owned).into());
}

/// The types that implement an extractor's trait, in each file of a folder.
fn implementors(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            implementors(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file of text");
            let lines = text.lines().filter(|line| line.starts_with("impl"));
            let extractors = lines.filter_map(|line| {
                let (of, rest) = line.split_once(" for ")?;
                of.contains("FromRequest").then(|| rest.split(['<', ' ']).next().expect("a type").to_owned())
            });
            found.extend(extractors);
        }
    }
}

/// The lines of level `ERROR`.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl Errors {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl<S: Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0.lock().expect("no panic").push(line.0);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
