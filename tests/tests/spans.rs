//! What a request leaves in the log: the same span over both transports, and nothing that a client sent in confidence.
//!
//! A process of its own, since a span that another test enters first, and hears not, may be silent for this one too.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::Query, http::StatusCode};
use catamaran::{App, Error, Result, action, controller, routes};
use serde_json::Value;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan};

use support::{Ask, Client, Eio, Server, get, post, within};

// This test needs some of it.
#[allow(dead_code)]
#[path = "it/support.rs"]
mod support;

/// The value that clients send in confidence.
const SECRET: &str = "hunter2";

#[controller("/notes")]
mod notes {
    use super::*;

    #[action(get "/{id}")]
    pub(crate) async fn show(id: u32) -> String {
        id.to_string()
    }

    #[action(post "/")]
    pub(crate) async fn add(Json(note): Json<Value>) -> (StatusCode, Json<Value>) {
        (StatusCode::CREATED, Json(note))
    }

    #[action(get "/find")]
    pub(crate) async fn find(_: Query<BTreeMap<String, u8>>) {}

    #[action(get "/conflict")]
    pub(crate) async fn conflict() -> Result<()> {
        Err(Error::new(StatusCode::CONFLICT, "taken"))
    }

    #[action(get "/panic")]
    pub(crate) async fn panic() {
        panic!("on purpose")
    }
}

/// All spans named `request`, and every text that any span or event recorded.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    requests: Vec<(span::Id, BTreeMap<&'static str, String>)>,
    texts: Vec<String>,
}

impl Log {
    /// The fields of the only request since the last time.
    fn request(&self) -> BTreeMap<&'static str, String> {
        let mut requests = std::mem::take(&mut self.0.lock().unwrap().requests);
        assert_eq!(requests.len(), 1);
        requests.remove(0).1
    }
}

/// Asks until the log hears it. A span that another test enters for the first time at this very moment may have been
/// found to interest nobody.
async fn listen(server: &Server, log: &Log) {
    within("the log to hear a request", async {
        loop {
            tracing::callsite::rebuild_interest_cache();
            server.http(&get("/")).await;
            if !std::mem::take(&mut log.0.lock().unwrap().requests).is_empty() {
                break;
            }
        }
    })
    .await;
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, _: Context<'_, S>) {
        let records = &mut *self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        attributes.record(&mut Texts { fields: &mut fields, texts: &mut records.texts });
        if attributes.metadata().name() == "request" {
            records.requests.push((id.clone(), fields));
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        let records = &mut *self.0.lock().unwrap();
        let mut other = BTreeMap::new();
        let fields = records.requests.iter_mut().find(|(span, _)| span == id).map_or(&mut other, |(_, fields)| fields);
        values.record(&mut Texts { fields, texts: &mut records.texts });
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let records = &mut *self.0.lock().unwrap();
        event.record(&mut Texts { fields: &mut BTreeMap::new(), texts: &mut records.texts });
    }
}

struct Texts<'a> {
    fields: &'a mut BTreeMap<&'static str, String>,
    texts: &'a mut Vec<String>,
}

impl Visit for Texts<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.texts.push(text.clone());
        self.fields.insert(field.name(), text);
    }
}

fn table() -> Vec<(Ask, &'static str, Option<&'static str>)> {
    let secret = format!(r#"{{"password":"{SECRET}"}}"#);
    vec![
        (get("/notes/7"), "200", Some("/notes/{id}")),
        (get(format!("/notes/7?token={SECRET}")), "200", Some("/notes/{id}")),
        (get(format!("/notes/{SECRET}")), "400", Some("/notes/{id}")),
        (get(format!("/notes/find?a={SECRET}")), "400", Some("/notes/find")),
        (post("/notes", &secret), "201", Some("/notes")),
        (post("/notes", &secret).header("authorization", SECRET), "201", Some("/notes")),
        (post("/notes", &secret).header("content-type", "text/plain"), "415", Some("/notes")),
        (Ask::new("delete", "/notes/7").data(&secret), "405", Some("/notes/{id}")),
        (get("/notes/conflict"), "409", Some("/notes/conflict")),
        (get("/notes/panic"), "500", Some("/notes/panic")),
        (get("/api/notes/7"), "404", None),
        (get(format!("/missing?token={SECRET}")), "404", None),
    ]
}

// One thread runs server and test, so the subscriber of this thread hears everything and no other test.
#[tokio::test]
async fn both_transports_leave_the_same_span_and_no_secret() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let server = Server::start(App::new(()).mount(routes![notes])).await;
    let cookie = [("cookie", SECRET), ("authorization", SECRET)];
    let mut client = Client::with(&server, Eio::V4, &cookie).await;
    listen(&server, &log).await;

    for (ask, status, route) in table() {
        server.http(&ask.clone().header("cookie", SECRET)).await;
        let mut over_http = log.request();
        client.ask(&ask).await;
        let mut over_socket = log.request();
        let method = ask.method.to_uppercase();
        for (fields, transport) in [(&mut over_http, "http"), (&mut over_socket, "socket")] {
            assert_eq!(fields.remove("transport").unwrap(), format!("{transport:?}"), "{ask:?}");
            assert!(fields.remove("latency").is_some_and(|latency| latency.ends_with('s')), "{ask:?}");
        }
        assert_eq!(over_http, over_socket, "{ask:?}");
        let route = route.map(|route| ("route", format!("{route:?}")));
        let expected = [("method", format!("{method:?}")), ("status", status.to_owned())].into_iter().chain(route);
        assert_eq!(over_http, expected.collect(), "{ask:?}");
    }

    // What is refused before it becomes a request must keep the secret too.
    for packet in [
        format!(r#"42901["get",{{"url":"{SECRET}"}}]"#),
        format!(r#"42902["get",{{"url":"/a","headers":{{"{SECRET} ":"{SECRET}"}}}}]"#),
        format!(r#"42903["get","{SECRET}"]"#),
        format!(r#"42["get",{{"url":5,"data":"{SECRET}"}}]"#),
    ] {
        client.send(packet).await;
        client.ask(&get("/notes/7")).await;
    }
    let records = log.0.lock().unwrap();
    assert!(records.texts.len() > 50, "the log was heard");
    for text in &records.texts {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn the_route_of_a_nested_router_is_the_whole_path() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let app = App::new(()).mount(routes![notes]).map_router(|ours| Router::new().nest("/api/{tenant}", ours));
    let server = Server::start(app).await;
    let mut client = Client::connect(&server).await;
    listen(&server, &log).await;
    let ask = get("/api/1/notes/7");
    server.http(&ask).await;
    assert_eq!(log.request()["route"], r#""/api/{tenant}/notes/{id}""#);
    client.ask(&ask).await;
    assert_eq!(log.request()["route"], r#""/api/{tenant}/notes/{id}""#);
}
