//! What one publish costs the one who publishes, until it is on its way to each subscriber: beside an emit to a room of
//! bare socketioxide, without a network and on one thread.

use std::time::Instant;

use ::catamaran::{Hub, RawEvent};
use axum::Router;
use socketioxide::SocketIo;
use tokio::{io::DuplexStream, runtime::Builder};

use crate::{
    client::Socket,
    inside::connect,
    rounds::{Plan, Rounds, Side, median},
    serve::{
        Note, by_hand,
        catamaran::{self, Log, Said, room},
    },
};

/// How many are on their way at once; a send buffer holds far more.
const BATCH: u32 = 64;

pub(crate) fn run(plan: Plan) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for subscribers in [0, 1, 10] {
            for history in [false, true] {
                measure(plan, subscribers, history).await;
            }
        }
    });
}

async fn measure(plan: Plan, subscribers: usize, history: bool) {
    let app = catamaran::app();
    let hub = app.hub();
    let watch = if history { r#"["get",{"url":"/lines"}]"# } else { r#"["get",{"url":"/watch"}]"# };
    let mut ours = gather(app.into_router().expect("an application without mistakes"), subscribers, watch).await;
    let (router, io) = by_hand::sockets();
    let mut twin = gather(router, subscribers, r#"["watch",{}]"#).await;
    let note = Note::of(65);
    let rounds = Rounds::measure(plan, async |side| {
        let sockets = match side {
            Side::Catamaran => &mut ours,
            Side::Twin => &mut twin,
        };
        let (mut batches, start) = (Vec::new(), Instant::now());
        while start.elapsed() < plan.time {
            let batch = Instant::now();
            for _ in 0..BATCH {
                match side {
                    Side::Catamaran => publish(&hub, &note, history).await,
                    Side::Twin => emit(&io, &note).await,
                }
            }
            batches.push(batch.elapsed().as_nanos() as f64 / f64::from(BATCH));
            for socket in &mut *sockets {
                for _ in 0..BATCH {
                    assert!(socket.next().await.starts_with(r#"42["said",{"#));
                }
            }
        }
        // The thread never waits while it publishes, so but for the few batches that it was interrupted in, this is CPU.
        median(batches.into_iter())
    });
    let kept = if history { ", history" } else { "" };
    rounds.await.print_ratio(&format!("{subscribers} subscribers{kept}"), "ns");
}

async fn gather(router: Router, subscribers: usize, watch: &str) -> Vec<Socket<DuplexStream>> {
    let mut sockets = Vec::new();
    for _ in 0..subscribers {
        let mut socket = connect(router.clone()).await;
        socket.request(watch).await;
        sockets.push(socket);
    }
    sockets
}

async fn publish(hub: &Hub, note: &Note, history: bool) {
    if history {
        hub.publish(&Log, Said(note.clone())).await.expect("a note is JSON");
    } else {
        let event = RawEvent::new("said", note).expect("a note is JSON");
        hub.publish(&room(), event).await.expect("a note is JSON");
    }
}

async fn emit(io: &SocketIo, note: &Note) {
    io.to("room").emit("said", note).await.expect("no socket is full");
}
