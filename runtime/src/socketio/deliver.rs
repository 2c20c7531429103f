//! Acks on their way to a client that may have no room for them.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use axum::{body::Bytes, http::StatusCode};
use catamaran_pubsub::Settled;
use socketioxide::{
    extract::AckSender,
    handler::{FromMessageParts, Value},
    socket::Socket as IoSocket,
};

use super::{
    SocketRouter, SocketSubscriber,
    ack::Answer,
    envelope::Ack,
    queue::{Arrival, Refused},
};
use crate::{
    Error,
    metrics::{self, Transport},
};

/// How many refusals may wait for room in a socket's send buffer; a client that provokes more and reads none is cut off.
pub(super) const MAX_REFUSALS: usize = 16 * 1024;
/// How long to wait before a full send buffer is tried again: at first, and at most.
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LAST_RETRY: Duration = Duration::from_millis(64);

/// Sends an ack, however long the client has no room for it: the library takes no waiting send, and an ack is never
/// dropped.
pub(super) async fn deliver(socket: &Arc<IoSocket>, subscriber: &SocketSubscriber, ack_id: i64, ack: &Ack<'_>) {
    let mut pause = Pause::default();
    while !try_deliver(socket, subscriber, ack_id, ack) {
        pause.next().await;
    }
}

/// Sends an ack; false if there is no room for it now.
fn try_deliver(socket: &Arc<IoSocket>, subscriber: &SocketSubscriber, ack_id: i64, ack: &Ack<'_>) -> bool {
    subscriber.try_ack(ack.bytes(), || {
        // A failed send consumes its sender, so each try makes one.
        let Ok(sender) = AckSender::from_message_parts(socket, &mut Value::Bytes(Bytes::new()), &Some(ack_id));
        sender.send(ack)
    })
}

/// Waits until the client has read most of what it was sent, or is gone.
pub(super) async fn room(subscriber: &SocketSubscriber) {
    let mut pause = Pause::default();
    while !subscriber.has_room() && !subscriber.is_gone() {
        pause.next().await;
    }
}

/// The pauses before a client that had no room is tried again, each longer than the one before.
#[derive(Default)]
struct Pause(Duration);

impl Pause {
    async fn next(&mut self) {
        self.0 = (self.0 * 2).clamp(FIRST_RETRY, LAST_RETRY);
        tokio::time::sleep(self.0).await;
    }
}

/// The 429 answers that wait for room in the send buffer.
#[derive(Default)]
pub(super) struct Refusals {
    too_many: Option<Answer>,
    too_fast: Option<Answer>,
    waiting: VecDeque<(Arc<IoSocket>, SocketSubscriber, i64, Refused)>,
    /// The log says once a socket that requests without an ack are dropped, and that it sends too fast.
    told: bool,
    told_fast: bool,
}

impl Refusals {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Refuses a request. Fails when the client has been refused so often, and has read so little, that it is cut off.
    pub(super) async fn add(&mut self, arrival: Arrival, refused: Refused) -> Result<(), ()> {
        if refused == Refused::TooFast && !mem::replace(&mut self.told_fast, true) {
            tracing::debug!("a socket sends more requests a second than it may");
        }
        let Arrival { socket, connection, ack_id: Some(ack_id), .. } = arrival else {
            if !mem::replace(&mut self.told, true) {
                tracing::warn!(
                    "requests without an ack are dropped: too many of their socket wait, or come in a second"
                );
            }
            metrics::request_dropped();
            return Ok(());
        };
        let subscriber = connection.subscriber().clone();
        let dispatcher = connection.dispatcher();
        match refused {
            Refused::TooMany if self.too_many.is_none() => {
                let SocketRouter { max_in_flight, max_in_flight_bytes, max_answer_bytes, .. } = *dispatcher;
                let error = Error::too_many_in_flight(max_in_flight, max_in_flight_bytes, max_answer_bytes);
                self.too_many = Some(Answer::whole(error).await);
            }
            Refused::TooFast if self.too_fast.is_none() => {
                self.too_fast = Some(Answer::whole(Error::too_many_messages(dispatcher.max_messages_per_second)).await);
            }
            _ => {}
        }
        if self.waiting.len() >= MAX_REFUSALS {
            tracing::warn!(socket = subscriber.id(), "a socket was cut off: it sends without end and reads nothing");
            self.waiting.clear();
            subscriber.end();
            return Err(());
        }
        metrics::request_answered(Transport::Socket, StatusCode::TOO_MANY_REQUESTS);
        self.waiting.push_back((socket, subscriber, ack_id, refused));
        self.flush();
        Ok(())
    }

    pub(super) async fn retry(&mut self) {
        tokio::time::sleep(FIRST_RETRY).await;
        self.flush();
    }

    fn flush(&mut self) {
        while let Some((socket, subscriber, ack_id, refused)) = self.waiting.front() {
            let answer = match refused {
                Refused::TooMany => &self.too_many,
                Refused::TooFast => &self.too_fast,
            };
            let Some(answer) = answer else { return };
            if !try_deliver(socket, subscriber, *ack_id, &answer.ack(false, &Settled::default())) {
                break;
            }
            self.waiting.pop_front();
        }
    }
}
