//! Several servers of an application, joined by a Postgres server.

use std::time::Duration;

use catamaran::{Channel, Outcome, Postgres, Published, UntypedEvent, prelude::*, test::TestSocket};
use catamaran_tests::backends::postgres::Server as Backend;
use support::{Client, Server, until, within};

#[allow(dead_code, unused_imports)]
#[path = "it/support.rs"]
mod support;

#[channel("log:{id}", event = UntypedEvent, history = 1000)]
struct Log {
    id: u64,
}

#[channel("tick:{id}", event = UntypedEvent)]
struct Tick {
    id: u64,
}

/// A node without a network of its own.
struct Node {
    hub: Hub,
    /// It holds the hub's bus.
    _app: App<()>,
}

impl Node {
    /// One that has reached the backend.
    async fn of(backend: &Backend) -> Self {
        let app = App::new(()).bus(Postgres::connect(backend.url()));
        let node = Self { hub: app.hub(), _app: app };
        node.comes_up().await;
        node
    }

    async fn comes_up(&self) {
        within("the bus", async {
            while self.hub.publish(&Tick { id: 0 }, said("up?")).await.unwrap() != Published::Delivered {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    async fn publish(&self, channel: &impl Channel<Event = UntypedEvent>, text: &str) {
        assert_eq!(self.hub.publish(channel, said(text)).await.unwrap(), Published::Delivered);
    }
}

fn said(text: &str) -> UntypedEvent {
    UntypedEvent::new("said", text).unwrap()
}

/// Waits until a socket has received so many events, and gives their texts.
async fn texts(socket: &mut TestSocket, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    until(&format!("{count} events"), || {
        received.extend(socket.received());
        received.len() >= count
    })
    .await;
    received.iter().map(|event| event.trim_start_matches(r#"["said",""#).trim_end_matches(r#""]"#).to_owned()).collect()
}

#[tokio::test]
async fn two_servers_exchange_events_in_order() {
    let backend = Backend::start();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let (mut ada, mut bob) = (TestSocket::new(&here.hub), TestSocket::new(&there.hub));
    for socket in [&ada, &bob] {
        socket.socket().subscribe(&Log { id: 7 }).await.unwrap();
    }
    for n in 0..50 {
        here.publish(&Log { id: 7 }, &format!("{n} from here")).await;
        there.publish(&Log { id: 7 }, &format!("{n} from there")).await;
    }
    let heard = texts(&mut ada, 100).await;
    assert_eq!(heard, texts(&mut bob, 100).await);
    for n in 0..50 {
        assert_eq!(heard[2 * n..2 * n + 2], [format!("{n} from here"), format!("{n} from there")]);
    }
}
