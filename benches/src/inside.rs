//! What a socket adds to a request, without a network: connections in memory, everything on one thread.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, runtime::Builder};
use tower::ServiceExt;
use tower_service::Service;

use crate::{
    client::Socket,
    rounds::{Plan, Rounds, Side},
    serve::{Note, by_hand, catamaran},
    server::own_cpu,
    socket::echo,
};

const WINDOW: u64 = 8;

pub(crate) fn run(plan: Plan) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(plan));
}

async fn measure(plan: Plan) {
    let router = catamaran::app().into_router().expect("an application without mistakes");
    let mut ours = connect(router.clone()).await;
    let mut twin = connect(by_hand::sockets().0).await;
    let (event, ack) = echo("post", 65);
    let (constant, _) = echo("constant", 65);
    let note = Note::of(65).json();

    let over_socket = Rounds::measure(plan, async |side| {
        let (socket, event) = match side {
            Side::Catamaran => (&mut ours, &event),
            Side::Twin => (&mut twin, &constant),
        };
        nanoseconds(plan, WINDOW, async || socket.ask(WINDOW, event, &ack).await).await
    });
    let over_socket = over_socket.await;
    over_socket.print_difference("socket, POST 65 B, echoed", "ns");

    let alone = Rounds::measure(plan, async |side| {
        let router = match side {
            Side::Catamaran => router.clone(),
            Side::Twin => by_hand::routes(),
        };
        nanoseconds(plan, 1, async || oneshot(&router, &note).await).await
    });
    let alone = alone.await;
    alone.print_difference("oneshot, POST 65 B, echoed", "ns");

    let over = over_socket.difference() - alone.ours();
    println!("  a socket request over `oneshot` of its action: {over:.0} ns");
}

/// A socket over a connection in memory.
pub(crate) async fn connect(router: Router) -> Socket<DuplexStream> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let service = service_fn(move |request: Request<Incoming>| router.clone().call(request.map(Body::new)));
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service).with_upgrades());
    Socket::over(client).await
}

async fn oneshot(router: &Router, note: &str) {
    let request = Request::post("/echo").header(header::CONTENT_TYPE, "application/json");
    let request = request.header(header::CONTENT_LENGTH, note.len()).body(Body::from(note.to_owned()));
    let Ok(response) = router.clone().oneshot(request.expect("a request")).await;
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    assert_eq!(body, note);
}

/// This thread's CPU time per request, of which each call makes so many.
async fn nanoseconds(plan: Plan, requests: u64, mut ask: impl AsyncFnMut()) -> f64 {
    let (mut asked, before) = (0, own_cpu());
    let mut used = Duration::ZERO;
    while used < plan.time {
        for _ in 0..100 {
            ask().await;
        }
        asked += 100 * requests;
        used = own_cpu() - before;
    }
    used.as_nanos() as f64 / asked as f64
}
