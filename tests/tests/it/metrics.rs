//! What the runtime counts, as Prometheus reads it.

use std::sync::Arc;

use axum::extract::State;
use catamaran::{RawChannel, RawEvent, metrics, prelude::*};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::Notify;

use crate::support::{Client, Packet, Server, get, until};

#[action(get "/hello")]
async fn hello() -> &'static str {
    "hello"
}

#[action(get "/gate")]
async fn gate(State(gate): State<Arc<Notify>>) {
    gate.notified().await;
}

#[action(get "/room")]
async fn room(ctx: Ctx<Socket>) -> catamaran::Result {
    ctx.subscribe(&RawChannel::new("room")).await?;
    Ok(())
}

#[action(get "/say")]
async fn say(ctx: Ctx) -> catamaran::Result {
    ctx.publish(&RawChannel::new("room"), RawEvent::new("said", &())?).await?;
    Ok(())
}

/// Publishes more than a socket that reads nothing may have waiting, and lets the connection take what it can meanwhile.
#[action(get "/flood")]
async fn flood(ctx: Ctx) -> catamaran::Result {
    for _ in 0..4000 {
        ctx.publish(&RawChannel::new("room"), RawEvent::new("said", &"x".repeat(10_000))?).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What was scraped: the number behind a name and its labels, 0 if there is none.
fn scraped(prometheus: &PrometheusHandle, metric: &str) -> f64 {
    let page = prometheus.render();
    let value = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

/// The recorder is this thread's alone, and so is everything that the test does: a runtime of one thread runs it.
#[tokio::test]
async fn requests_sockets_and_subscriptions_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = ::metrics::set_default_local_recorder(&recorder);
    let (prometheus, notify) = (recorder.handle(), Arc::new(Notify::new()));
    let app = App::new(notify.clone()).mount(routes![hello, gate, room, say, flood]).max_in_flight(1);
    let server = Server::start(app).await;
    let count = |metric: &str| scraped(&prometheus, metric);
    let requests = |transport: &str, status: u16| {
        count(&format!(r#"{}{{transport="{transport}",status="{status}"}}"#, metrics::REQUESTS))
    };
    let in_flight = |transport: &str| count(&format!(r#"{}{{transport="{transport}"}}"#, metrics::IN_FLIGHT));

    server.http(&get("/hello")).await;
    server.http(&get("/hello")).await;
    server.http(&get("/nothing")).await;
    assert_eq!((requests("http", 200), requests("http", 404), requests("socket", 200)), (2.0, 1.0, 0.0));

    let mut client = Client::connect(&server).await;
    assert_eq!(count(metrics::SOCKETS), 1.0);
    let waiting = client.start(&get("/gate")).await;
    until("a request in flight", || in_flight("socket") == 1.0).await;
    assert_eq!(client.ask(&get("/hello")).await.status, 429);
    client.tell(&get("/hello")).await;
    assert_eq!(client.ask(&get("/hello")).await.status, 429);
    assert_eq!((count(metrics::DROPPED), requests("socket", 429)), (1.0, 2.0));
    notify.notify_one();
    client.ack(waiting).await;
    assert_eq!(client.ask(&get("not a path")).await.status, 400);
    assert_eq!((requests("socket", 200), requests("socket", 400)), (1.0, 1.0));
    until("no request in flight", || in_flight("socket") == 0.0 && in_flight("http") == 0.0).await;
    client.drop_connection();
    until("no socket", || count(metrics::SOCKETS) == 0.0).await;

    let mut client = Client::resuming(&server, "0123456789abcdef").await;
    let answer = client.ask(&get("/room")).await;
    let position = format!(r#"{{"room":[{},0]}}"#, answer.channels["room"][0]);
    client.drop_connection();
    let mut client = Client::resuming(&server, "0123456789abcdef").await;
    client.resume("/room", &position).await;
    assert_eq!((count(metrics::RESUMED), count(metrics::GAPS)), (1.0, 0.0));
    server.http(&get("/say")).await;
    assert!(matches!(client.next().await, Packet::Event(_)));
    let mut client = Client::resuming(&server, "0123456789abcdef").await;
    client.resume("/room", &position).await;
    assert_eq!((count(metrics::RESUMED), count(metrics::GAPS)), (1.0, 1.0));

    assert_eq!(count(metrics::SLOW), 0.0);
    server.http(&get("/flood")).await;
    assert_eq!(count(metrics::SLOW), 1.0);

    let strange = get("/socket.io/?EIO=4&transport=websocket").header("origin", "https://strange.example");
    assert_eq!(server.http(&strange).await.status, 403);
    assert_eq!(count(metrics::REFUSED_ORIGINS), 1.0);
    assert!(prometheus.render().contains("# HELP catamaran_sockets Sockets that are connected"));
}
