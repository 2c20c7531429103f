//! From a packet to its ack: the order, the number and the fate of the requests of one socket.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll, time::Duration};

use axum::{body::Bytes, http::Method};
use catamaran_pubsub::{Settled, Subscriptions};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, poll_fn},
    stream::FuturesUnordered,
};
use socketioxide::{ProtocolVersion, TransportType, handler::Value, socket::Socket as IoSocket};
use tokio::time::{error::Elapsed, timeout};
use tower_service::Service;

use super::{
    Socket, SocketSubscriber,
    ack::Answer,
    connection::{Connection, SocketRouter},
    deliver::{Refusals, deliver, room},
    incoming::arguments,
    queue::{Arrival, Arrivals, Packet, Refused},
    request::{lasting_headers, virtual_request},
};
use crate::{
    Error,
    metrics::{self, Transport},
};

/// How much longer than an action a whole request may take. The 503 of an action passes through the application's
/// layers, the one given here does not, so the action's comes first.
const GRACE: Duration = Duration::from_millis(100);
/// How long a request waits for its socket to be connected: the client sent it because it was told so.
const ENTRY: Duration = Duration::from_secs(10);

/// The task of one socket: starts requests in the order of their packets, and drives those that wait.
pub(super) async fn work(dispatcher: Arc<SocketRouter>, mut arrivals: Arrivals) {
    let mut in_flight: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut refusals = Refusals::default();
    let mut entered = false;
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            () = refusals.retry(), if !refusals.is_empty() => {}
            arrival = arrivals.next() => {
                let Some(arrival) = arrival else { break };
                // The client is told that it is connected a moment before it has its channels, and events can be emitted
                // to it. If it cannot be told, there is nobody to answer.
                if !entered && within(ENTRY, arrival.connection.entered()).await.is_err() {
                    break;
                }
                entered = true;
                // It was closed: those under way are answered, and no more.
                if arrival.connection.subscriber().is_gone() {
                    continue;
                }
                let refused = match &arrival.packet {
                    Err(refused) => Some(*refused),
                    Ok(_) => {
                        let unread = arrival.connection.answers().is_filling();
                        (in_flight.len() >= dispatcher.max_in_flight || unread).then_some(Refused::TooMany)
                    }
                };
                if let Some(refused) = refused {
                    if refusals.add(arrival, refused).await.is_err() {
                        break;
                    }
                    continue;
                }
                // The first poll comes before the next packet is looked at, so that requests start in order; one that
                // does not wait is finished by it.
                let mut request = Box::pin(answer(arrival));
                if poll_fn(|cx| Poll::Ready(request.poll_unpin(cx))).await.is_pending() {
                    in_flight.push(request);
                }
            }
        }
    }
}

/// Runs one request and sends its ack.
async fn answer(arrival: Arrival) {
    let Arrival { socket, connection, method, ack_id, packet } = arrival;
    // A packet that was refused does not come here.
    let Ok(Packet { value, charge }) = packet else { return };
    let dispatcher = connection.dispatcher();
    let _in_flight = dispatcher.drain.enter(Transport::Socket);
    let _busy = connection.subscriber().busy();
    connection.active(true);
    let subscriptions = Arc::new(subscriptions_of(&method));
    // Pinned here, since a guard that takes a future by value keeps room for it twice.
    let answer = pin!(async {
        match route(&socket, &connection, &method, value, &subscriptions).await {
            Ok(answer) => answer,
            Err(refusal) => refuse(connection.subscriber(), &method, ack_id, refusal).await,
        }
    });
    let answer = bounded(dispatcher.timeout, answer).await;
    drop(charge);
    metrics::request_answered(Transport::Socket, answer.status());
    let settled = subscriptions.settle(connection.subscriber().subscriber(), answer.succeeded());
    if let Some(ack_id) = ack_id {
        deliver(&socket, connection.subscriber(), ack_id, &answer.ack(takes_binary(&socket), &settled)).await;
    }
    drop(answer);
    if settled.is_held() {
        // What is published meanwhile is kept for it.
        room(connection.subscriber()).await;
    }
    settled.live(connection.subscriber().subscriber());
    connection.active(false);
}

/// Those of a request. A HEAD subscribes and unsubscribes nothing: no client would repeat it after a reconnect.
pub(super) fn subscriptions_of(method: &Method) -> Subscriptions {
    if *method == Method::HEAD { Subscriptions::without_effect() } else { Subscriptions::default() }
}

/// Answers a request that could not be read.
async fn refuse(subscriber: &SocketSubscriber, method: &Method, ack_id: Option<i64>, refusal: Error) -> Answer {
    tracing::debug!(transport = "socket", method = method.as_str(), status = refusal.status().as_u16(), "refused");
    let answer = Answer::whole(refusal).await;
    if ack_id.is_none() {
        // Without an ack the Sails client still hears of it, as an event.
        let settled = Settled::default();
        let error = answer.ack(false, &settled);
        subscriber.emit("sails:parseError", &error, error.bytes());
    }
    answer
}

/// Waits for an answer. A panic is one too, and so is a delay of longer than the limit.
pub(crate) async fn bounded(limit: Duration, answer: impl Future<Output = Answer>) -> Answer {
    match within(limit + GRACE, AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panic)) => Answer::whole(Error::panicked()).await,
        Err(_elapsed) => Answer::whole(Error::timed_out(limit)).await,
    }
}

/// Ends a future that waits for longer. The clock is read, and a timer made, only if it waits at all.
async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout(limit, future).await,
    }
}

/// Sends the virtual request through the router, and waits for the whole of its answer.
async fn route(
    socket: &Arc<IoSocket>,
    connection: &Arc<Connection>,
    method: &Method,
    packet: Value,
    subscriptions: &Arc<Subscriptions>,
) -> Result<Answer, Error> {
    let only_json = || Error::malformed("a request carries JSON only: send bytes as base64, or over HTTP");
    let text: Bytes = match packet {
        Value::Str(text, attachments) if attachments.as_ref().is_none_or(|all| all.is_empty()) => text.into(),
        Value::Str(text, _) => return Err(arguments(&text).err().unwrap_or_else(only_json)),
        Value::Bytes(_) => return Err(only_json()),
    };
    let lasting = connection.lasting(|| lasting_headers(&socket.req_parts().headers));
    let cookie = |path: &str| connection.cookies().header(path);
    let rules = &connection.dispatcher().header_rules;
    let (mut request, resume) = virtual_request(method, &text, socket.req_parts(), lasting, cookie, rules)?;
    let uri = request.uri().clone();
    if !resume.is_empty() {
        subscriptions.resume(resume);
    }
    let (subscriber, hub) = (connection.subscriber().clone(), connection.dispatcher().hub.clone());
    let handle = Socket::of_request(socket.clone(), subscriber, hub, subscriptions.clone());
    request.extensions_mut().insert(handle);
    let mut router = connection.dispatcher().router.clone();
    let response = match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let answer = Answer::collect(response, method, connection.answers()).await;
    connection.cookies().keep(answer.headers(), uri.path());
    Ok(answer)
}

/// Whether a binary attachment reaches this client whole. engineioxide frames one for Engine.IO 4 whatever the client
/// speaks, which an Engine.IO 3 client misreads over long-polling.
fn takes_binary(socket: &IoSocket) -> bool {
    socket.protocol() != ProtocolVersion::V4 || socket.transport_type() == TransportType::Websocket
}
