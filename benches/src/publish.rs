//! What one publish costs the one who publishes, until it is on its way to each subscriber: beside an emit to a room of
//! bare socketioxide, on one thread, so that nothing is written to a connection meanwhile. And how much two threads publish.

use std::{net::Ipv4Addr, sync::Barrier, thread, time::Instant};

use ::catamaran::{Hub, RawChannel, RawEvent, test::TestSocket};
use socketioxide::SocketIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

use crate::{
    client::Socket,
    rounds::{Plan, Rounds, Side, median},
    serve::{
        Note, by_hand,
        catamaran::{self, Log, Said, room},
    },
};

/// How many are on their way at once; a send buffer holds far more.
const BATCH: u32 = 64;

/// Who is subscribed, and to what.
#[derive(Clone, Copy)]
struct Audience {
    subscribers: usize,
    /// Every second is the catamaran client, which understands positions.
    mixed: bool,
    history: bool,
}

pub(crate) fn run(plan: Plan) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for subscribers in [0, 1, 10] {
            for history in [false, true] {
                measure(plan, Audience { subscribers, mixed: false, history }).await;
            }
        }
        measure(plan, Audience { subscribers: 10, mixed: true, history: false }).await;
    });
    threads(plan);
}

async fn measure(plan: Plan, audience: Audience) {
    let Audience { subscribers, mixed, history } = audience;
    let app = catamaran::app();
    let hub = app.hub();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("the address");
    let server = tokio::spawn(app.serve_on(listener));
    let watch = if history { r#"["get",{"url":"/lines"}]"# } else { r#"["get",{"url":"/watch"}]"# };
    let mut ours = Vec::new();
    for n in 0..subscribers {
        let mut socket = match mixed && n % 2 == 0 {
            true => Socket::connect_as(address, &format!("subscriber-{n:0>20}")).await,
            false => Socket::connect(address).await,
        };
        socket.request(watch).await;
        ours.push(socket);
    }
    let (router, io) = by_hand::sockets();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("the address");
    let twin_server = tokio::spawn(by_hand::serve(listener, router));
    let mut twin = Vec::new();
    for _ in 0..subscribers {
        let mut socket = Socket::connect(address).await;
        socket.request(r#"["watch",{}]"#).await;
        twin.push(socket);
    }
    let note = Note::of(65);
    let rounds = Rounds::measure(plan, async |side| {
        let sockets: &mut Vec<Socket<TcpStream>> = match side {
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
                    assert!(socket.next().await.contains(r#""said",{"#));
                }
            }
        }
        // The thread never waits while it publishes, so but for the few batches that it was interrupted in, this is CPU.
        median(batches.into_iter())
    });
    let kept = if history { ", history" } else { "" };
    let kinds = if mixed { ", two dialects" } else { "" };
    rounds.await.print_ratio(&format!("{subscribers} subscribers{kept}{kinds}"), "ns");
    server.abort();
    twin_server.abort();
}

/// How much two threads publish together, each to a channel of its own with one subscriber that no connection carries.
fn threads(plan: Plan) {
    const EVENTS: u32 = 10_000;
    let note = Note::of(65);
    let rate = |threads: usize| {
        let hub = Hub::default();
        let start = Barrier::new(threads);
        let times: Vec<_> = thread::scope(|scope| {
            let publishers: Vec<_> = (0..threads)
                .map(|n| {
                    let (hub, note, start) = (&hub, &note, &start);
                    scope.spawn(move || {
                        let (channel, mut socket) = (RawChannel::new(format!("room:{n}")), TestSocket::new(hub));
                        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
                        runtime.block_on(async {
                            hub.subscribe(socket.socket().id(), &channel).await.expect("a channel");
                            start.wait();
                            let start = Instant::now();
                            for _ in 0..EVENTS {
                                let event = RawEvent::new("said", note).expect("a note is JSON");
                                hub.publish(&channel, event).await.expect("a note is JSON");
                            }
                            let time = start.elapsed();
                            assert_eq!(socket.received().len(), EVENTS as usize);
                            time
                        })
                    })
                })
                .collect();
            publishers.into_iter().map(|publisher| publisher.join().expect("a publisher")).collect()
        });
        times.iter().map(|time| f64::from(EVENTS) / time.as_secs_f64()).sum::<f64>()
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..if plan.smoke { 1 } else { 5 * plan.rounds } {
        one.push(rate(1));
        two.push(rate(2));
    }
    Rounds::of(two, one).print_ratio_to("one thread", "two threads, two channels", "/s");
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
