//! First subscribe, then read: nothing falls between, whoever writes meanwhile. And the order in which something does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use catamaran::prelude::*;
use serde::Serialize;
use serde_json::Value;
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinSet,
};

use crate::support::{Answer, Ask, Client, Eio, Packet, Server, get, post};

/// How many subscriptions are held against the truth.
const SUBSCRIPTIONS: usize = 1000;
/// The sockets that make them, one after the other, half of them our own clients.
const SOCKETS: usize = 20;
/// How many changes a subscriber hears before it leaves again.
const HEARD: usize = 3;
const DOCUMENTS: usize = 4;
/// How long each document's writer rests between two changes.
const REST: Duration = Duration::from_millis(1);
/// More than is held for a subscription that is not live yet.
const FLOOD: u64 = 5000;

/// Keeps nothing for whoever comes back: what is held is held for the subscription alone.
#[channel("document:{id}", event = Changed)]
struct Document {
    id: usize,
}

/// A document, and the number of its change.
#[derive(Event, Serialize)]
struct Changed(usize, u64);

/// How many times each document was changed.
#[derive(Clone)]
struct Store {
    documents: Arc<[watch::Sender<u64>; DOCUMENTS]>,
    /// A change is published before the next is made.
    changing: Arc<[Mutex<()>; DOCUMENTS]>,
    /// The slow action has subscribed, and may go on.
    entered: Arc<Notify>,
    go: Arc<Notify>,
}

impl Store {
    fn new() -> Self {
        let documents = std::array::from_fn(|_| watch::Sender::new(0)).into();
        Self { documents, changing: Arc::default(), entered: Arc::default(), go: Arc::default() }
    }

    fn read(&self, id: usize) -> u64 {
        *self.documents[id].borrow()
    }

    async fn change(&self, hub: &Hub, id: usize) -> catamaran::Result {
        let _one_at_a_time = self.changing[id].lock().await;
        self.documents[id].send_modify(|number| *number += 1);
        hub.publish(&Document { id }, Changed(id, self.read(id))).await?;
        Ok(())
    }

    /// Waits until a change was made and published.
    async fn changed(&self, id: usize) -> catamaran::Result {
        // The first of two is published before the second is made.
        let second = self.read(id) + 2;
        self.documents[id].subscribe().wait_for(|number| *number >= second).await?;
        Ok(())
    }
}

#[controller("/documents/{id}")]
mod documents {
    use axum::http::StatusCode;

    use super::*;

    #[action(get "/")]
    pub(crate) async fn watch(ctx: Ctx<Socket>, id: usize, State(store): State<Store>) -> catamaran::Result<Json<u64>> {
        ctx.subscribe(&Document { id }).await?;
        Ok(Json(store.read(id)))
    }

    /// In the same order, with changes before the read and after it.
    #[action(get "/slowly")]
    pub(crate) async fn slowly(
        ctx: Ctx<Socket>,
        id: usize,
        State(store): State<Store>,
    ) -> catamaran::Result<Json<u64>> {
        ctx.subscribe(&Document { id }).await?;
        store.changed(id).await?;
        let read = store.read(id);
        store.changed(id).await?;
        Ok(Json(read))
    }

    /// In the naive order, with a change between.
    #[action(get "/naively")]
    pub(crate) async fn naively(
        ctx: Ctx<Socket>,
        id: usize,
        State(store): State<Store>,
    ) -> catamaran::Result<Json<u64>> {
        let read = store.read(id);
        store.changed(id).await?;
        ctx.subscribe(&Document { id }).await?;
        Ok(Json(read))
    }

    /// Subscribes, and fails after a change.
    #[action(get "/refused")]
    pub(crate) async fn refused(ctx: Ctx<Socket>, id: usize, State(store): State<Store>) -> catamaran::Result {
        ctx.subscribe(&Document { id }).await?;
        store.changed(id).await?;
        Err(catamaran::Error::new(StatusCode::CONFLICT, "no"))
    }

    /// Subscribes, and answers when it is told to.
    #[action(get "/held")]
    pub(crate) async fn held(ctx: Ctx<Socket>, id: usize, State(store): State<Store>) -> catamaran::Result {
        ctx.subscribe(&Document { id }).await?;
        store.entered.notify_one();
        store.go.notified().await;
        Ok(())
    }

    #[action(delete "/")]
    pub(crate) async fn leave(ctx: Ctx<Socket>, id: usize) {
        ctx.socket().unsubscribe(&Document { id }).await;
    }

    /// So many changes, one after the other.
    #[action(post "/{times}")]
    pub(crate) async fn change(hub: Hub, id: usize, times: u64, State(store): State<Store>) -> catamaran::Result {
        for _ in 0..times {
            store.change(&hub, id).await?;
        }
        Ok(())
    }

    /// Changes the document for as long as the server runs.
    #[action(post "/writer")]
    pub(crate) async fn write(hub: Hub, id: usize, State(store): State<Store>) {
        tokio::spawn(async move {
            let mut rest = tokio::time::interval(REST);
            while store.change(&hub, id).await.is_ok() {
                rest.tick().await;
            }
        });
    }
}

async fn start() -> (Store, Arc<Server>) {
    let store = Store::new();
    let server = Server::start(App::new(store.clone()).mount(routes![documents])).await;
    (store, Arc::new(server))
}

/// A server whose documents are written to all the time.
async fn start_with_writers() -> Arc<Server> {
    let (_, server) = start().await;
    for id in 0..DOCUMENTS {
        assert_eq!(server.http(&post(format!("/documents/{id}/writer"), "null")).await.status, 200);
    }
    server
}

/// A socket, and what it has heard and not looked at yet.
struct Subscriber {
    client: Client,
    heard: VecDeque<(usize, u64)>,
}

impl Subscriber {
    /// Our own client, which is sent positions, or one as they are in the field.
    async fn connect(server: &Server, number: usize) -> Self {
        let client = match number % 4 {
            0 => Client::with(server, Eio::V3, &[]).await,
            1 => Client::connect(server).await,
            _ => Client::resuming(server, &format!("client-{number:0>20}")).await,
        };
        Self { client, heard: VecDeque::new() }
    }

    /// The next change that it hears of.
    async fn next(&mut self) -> (usize, u64) {
        loop {
            if let Some(change) = self.heard.pop_front() {
                return change;
            }
            let Packet::Event(text) = self.client.next().await else { panic!("an event") };
            let frame: Vec<Value> = serde_json::from_str(&text).expect("an event is JSON");
            match frame[0].as_str().expect("a name") {
                "changed" => self.heard.push_back(change(&frame[1..])),
                "$" => self.heard.push_back(change(&frame[4..])),
                "$replay" => {
                    let entries = frame[2].as_array().expect("entries");
                    self.heard.extend(entries.iter().map(|entry| change(&entry.as_array().expect("an entry")[2..])));
                }
                other => panic!("{other} was not expected"),
            }
        }
    }

    /// What it hears of a document that others did not hear before it left them: the numbers of some changes in a row.
    async fn hear(&mut self, document: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < HEARD {
            match self.next().await {
                (id, number) if id == document => numbers.push(number),
                _of_one_that_it_left => {}
            }
        }
        numbers
    }

    async fn leave(&mut self, document: usize) {
        assert_eq!(self.client.ask(&Ask::new("delete", format!("/documents/{document}"))).await.status, 200);
    }
}

fn change(arguments: &[Value]) -> (usize, u64) {
    let number = |at: usize| arguments[at].as_u64().expect("a number");
    (usize::try_from(number(0)).expect("a document"), number(1))
}

/// The number that an answer has read.
fn read(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_u64().expect("a number")
}

/// Whether a subscriber with this answer has missed a change; it may hear of some that it has read already.
fn missed(read: u64, heard: &[u64]) -> bool {
    heard[0] > read + 1
}

#[track_caller]
fn assert_in_a_row(heard: &[u64]) {
    assert!(heard.is_sorted_by(|a, b| a + 1 == *b), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_subscriptions_none_misses_a_change_and_in_the_naive_order_all_do() {
    let server = start_with_writers().await;
    let mut sockets = JoinSet::new();
    for socket in 0..SOCKETS {
        let server = server.clone();
        sockets.spawn(async move {
            let mut subscriber = Subscriber::connect(&server, socket).await;
            for round in 0..SUBSCRIPTIONS / SOCKETS {
                let document = (socket + round) % DOCUMENTS;
                let url = format!("/documents/{document}");
                let client = &mut subscriber.client;
                // Fast, slow, and both at once.
                let read = match round % 3 {
                    0 => read(&client.ask(&get(url)).await),
                    1 => read(&client.ask(&get(url + "/slowly")).await),
                    _ => {
                        let slow = client.start(&get(format!("{url}/slowly"))).await;
                        let fast = client.start(&get(url)).await;
                        read(&client.ack(fast).await).min(read(&client.ack(slow).await))
                    }
                };
                let heard = subscriber.hear(document).await;
                assert_in_a_row(&heard);
                assert!(!missed(read, &heard), "read {read}, heard {heard:?}");
                subscriber.leave(document).await;
            }
            let url = format!("/documents/{}/naively", socket % DOCUMENTS);
            let read = read(&subscriber.client.ask(&get(url)).await);
            let heard = subscriber.hear(socket % DOCUMENTS).await;
            assert!(missed(read, &heard), "read {read}, heard {heard:?}");
        });
    }
    sockets.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_action_that_fails_after_subscribing_is_followed_by_nothing() {
    let server = start_with_writers().await;
    for number in 0..4 {
        let mut subscriber = Subscriber::connect(&server, number).await;
        assert_eq!(subscriber.client.ask(&get("/documents/0/refused")).await.status, 409);
        read(&subscriber.client.ask(&get("/documents/1")).await);
        for _ in 0..10 * HEARD {
            assert_eq!(subscriber.next().await.0, 1);
        }
    }
}

#[tokio::test]
async fn a_hold_that_overflows_is_a_gap_in_the_ack_or_ends_the_connection() {
    let (store, server) = start().await;
    for number in 0..4 {
        let mut subscriber = Subscriber::connect(&server, number).await;
        let id = subscriber.client.start(&get("/documents/0/held")).await;
        store.entered.notified().await;
        assert_eq!(server.http(&post(format!("/documents/0/{FLOOD}"), "null")).await.status, 200);
        store.go.notify_one();
        let before = store.read(0);
        if number < 2 {
            // It knows no gaps, and hears a disconnect instead, perhaps before it has read the answer.
            loop {
                match subscriber.client.receive().await {
                    Packet::Closed => break,
                    Packet::Event(event) => panic!("it heard {event}"),
                    Packet::Ack(..) | Packet::Other(_) => {}
                }
            }
            continue;
        }
        let answer = subscriber.client.ack(id).await;
        assert_eq!(
            (&answer.channels["document:0"][1], &answer.channels["document:0"][2]),
            (&before.into(), &"gap".into())
        );
        assert_eq!(server.http(&post("/documents/0/1", "null")).await.status, 200);
        assert_eq!(subscriber.next().await, (0, before + 1));
    }
}
