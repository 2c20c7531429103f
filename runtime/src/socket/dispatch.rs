//! From a packet to its ack: the order, the number and the fate of the requests of one socket.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode},
};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, poll_fn},
    stream::FuturesUnordered,
};
use socketioxide::{
    ProtocolVersion, TransportType,
    adapter::LocalAdapter,
    extract::AckSender,
    handler::{FromMessageParts, MessageHandler, Value},
    socket::Socket,
};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{error::Elapsed, timeout},
};
use tower_service::Service;

use super::{
    RequestSocket,
    ack::Answer,
    connect::{Hooks, Visit},
    cookies::Cookies,
    envelope::Ack,
    request::{lasting_headers, virtual_request},
};
use crate::{
    Error,
    hub::{Hub, Peer, Settled, Subscriptions},
    metrics::{self, OpenSocket, Transport},
    server::Drain,
};

/// What all sockets of an application share.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    /// The finished router, which HTTP uses too.
    pub(crate) router: Router,
    /// How long a request may take, its answer's body included.
    pub(crate) timeout: Duration,
    /// How many requests of one socket may wait for their answers.
    pub(crate) max_in_flight: usize,
    /// How many bytes of packets one socket may have waiting before they are looked at.
    pub(crate) max_queued_bytes: usize,
    /// About how many bytes may wait for one socket before it is cut off.
    pub(crate) max_backlog_bytes: usize,
    /// The channels that sockets subscribe to.
    pub(crate) hub: Hub,
    /// What waits for requests to be answered when the server stops.
    pub(crate) drain: Drain,
    /// What the application does when sockets come and go.
    pub(crate) hooks: Hooks,
}

/// How much longer than an action a whole request may take. The 503 of an action passes through the application's
/// layers, the one given here does not, so the action's comes first.
const GRACE: Duration = Duration::from_millis(100);
/// How many packets of one socket may wait before they are looked at.
const MAX_QUEUED: usize = 1024;
/// How many refusals may wait for room in a socket's send buffer; a client that provokes more and reads none is cut off.
const MAX_REFUSALS: usize = 16 * 1024;
/// How long a request waits for its socket to be connected: the client sent it because it was told so.
const ENTRY: Duration = Duration::from_secs(10);
/// How long to wait before a full send buffer is tried again: at first, and at most.
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LAST_RETRY: Duration = Duration::from_millis(64);

/// One socket's requests.
///
/// It must not own its socket: the socket owns it, through the handlers of its events.
#[derive(Debug)]
pub(crate) struct Connection {
    dispatcher: Arc<Dispatcher>,
    peer: Peer,
    cookies: Mutex<Cookies>,
    lasting: OnceLock<HeaderMap>,
    /// Made with the task behind it at the first request, since many sockets only listen.
    queue: OnceLock<Queue>,
    /// What the hook of a connecting socket subscribed to, until the client has been told that it is connected.
    subscribed: Mutex<Option<Arc<Subscriptions>>>,
    /// The client has been told that it is connected.
    entered: Notify,
    /// What the hook is told that hears of the socket's end.
    visit: Mutex<Option<Box<Visit>>>,
    closed: AtomicBool,
    _open: OpenSocket,
}

#[derive(Debug)]
struct Queue {
    sender: mpsc::UnboundedSender<Arrival>,
    depth: Arc<Depth>,
    task: AbortHandle,
}

/// What waits in a queue.
#[derive(Debug, Default)]
struct Depth {
    packets: AtomicUsize,
    bytes: AtomicUsize,
}

/// A packet on its way from the connection's reader to the socket's task.
struct Arrival {
    socket: Arc<Socket>,
    connection: Arc<Connection>,
    method: Method,
    ack_id: Option<i64>,
    /// `None` if there was no room for it.
    packet: Option<Value>,
    bytes: usize,
}

/// Hands the events of one method to the socket's task.
///
/// socketioxide calls it on the connection's reader, in the order of the packets. Its own handlers start a task for
/// each event and lose that order.
pub(crate) struct Dispatch {
    pub(crate) method: Method,
    pub(crate) connection: Arc<Connection>,
}

/// Tells this handler from the closures that socketioxide implements the trait for.
pub(crate) enum ViaDispatch {}

impl MessageHandler<LocalAdapter, ViaDispatch> for Dispatch {
    fn call(&self, socket: Arc<Socket>, packet: Value, ack_id: Option<i64>) {
        let connection = &self.connection;
        let queue = connection.queue.get_or_init(|| Queue::start(connection.dispatcher.clone()));
        let bytes = packet.len();
        let packets = queue.depth.packets.fetch_add(1, Ordering::Relaxed);
        let queued = queue.depth.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = packets < MAX_QUEUED && (packets == 0 || queued + bytes <= connection.dispatcher.max_queued_bytes);
        let arrival = Arrival {
            socket,
            connection: connection.clone(),
            method: self.method.clone(),
            ack_id,
            packet: fits.then_some(packet),
            bytes,
        };
        // It fails only after the socket is gone, when there is nobody to answer.
        let _ = queue.sender.send(arrival);
    }
}

impl Queue {
    fn start(dispatcher: Arc<Dispatcher>) -> Self {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let depth = Arc::new(Depth::default());
        let task = tokio::spawn(work(dispatcher, arrivals, depth.clone())).abort_handle();
        Self { sender, depth, task }
    }
}

impl Connection {
    /// The connection of a socket that is about to connect.
    pub(crate) fn new(dispatcher: Arc<Dispatcher>, socket: &Arc<Socket>, peer: Peer) -> Self {
        Self {
            dispatcher,
            peer,
            cookies: Mutex::new(Cookies::of(&socket.req_parts().headers)),
            lasting: OnceLock::new(),
            queue: OnceLock::new(),
            subscribed: Mutex::default(),
            entered: Notify::new(),
            visit: Mutex::default(),
            closed: AtomicBool::new(false),
            _open: OpenSocket::count(),
        }
    }

    pub(crate) fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    pub(crate) fn cookies(&self) -> MutexGuard<'_, Cookies> {
        lock(&self.cookies)
    }

    /// What the hook subscribed the socket to, as long as it is not closed.
    pub(crate) fn subscribed(&self, subscriptions: Arc<Subscriptions>) {
        *lock(&self.subscribed) = Some(subscriptions);
    }

    /// The socket was let in, so its end will be told.
    pub(crate) fn remember(&self, visit: Visit) {
        *lock(&self.visit) = Some(Box::new(visit));
    }

    /// The client has been told that it is connected: first come its channels, then its requests. False if the socket is
    /// gone already.
    pub(crate) fn enter(&self) -> bool {
        self.peer.enter();
        if let Some(subscriptions) = lock(&self.subscribed).take() {
            subscriptions.settle(&self.peer, true).live_aloud(&self.peer);
        }
        self.entered.notify_one();
        !self.peer.is_gone()
    }

    /// Ends the socket's subscriptions, and cancels what is under way, as hyper does when an HTTP client goes away.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.peer.mark_gone();
        self.dispatcher.hub.streams().leave_all(&self.peer);
        if let Some(subscriptions) = lock(&self.subscribed).take() {
            subscriptions.settle(&self.peer, false);
        }
        if let Some(queue) = self.queue.get() {
            queue.task.abort();
        }
        if let Some(visit) = lock(&self.visit).take() {
            visit.end(&self.dispatcher, self, &self.peer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Connection {
    /// A socket that fails to connect is dropped without having been disconnected.
    fn drop(&mut self) {
        self.close();
    }
}

/// The task of one socket: starts requests in the order of their packets, and drives those that wait.
async fn work(dispatcher: Arc<Dispatcher>, mut arrivals: mpsc::UnboundedReceiver<Arrival>, depth: Arc<Depth>) {
    let mut in_flight: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut refusals = Refusals::default();
    let mut entered = false;
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            () = refusals.retry(), if !refusals.is_empty() => {}
            arrival = arrivals.recv() => {
                let Some(arrival) = arrival else { break };
                depth.packets.fetch_sub(1, Ordering::Relaxed);
                depth.bytes.fetch_sub(arrival.bytes, Ordering::Relaxed);
                // The client is told that it is connected a moment before it has its channels, and events can be emitted
                // to it. If it cannot be told, there is nobody to answer.
                if !entered && within(ENTRY, arrival.connection.entered.notified()).await.is_err() {
                    break;
                }
                entered = true;
                // It was closed: those under way are answered, and no more.
                if arrival.connection.peer.is_gone() {
                    continue;
                }
                if in_flight.len() >= dispatcher.max_in_flight || arrival.packet.is_none() {
                    if refusals.add(arrival, dispatcher.max_in_flight).await.is_err() {
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
    let Arrival { socket, connection, method, ack_id, packet, .. } = arrival;
    let dispatcher = &connection.dispatcher;
    let _in_flight = dispatcher.drain.enter(Transport::Socket);
    let _busy = connection.peer.busy();
    let subscriptions = Arc::new(Subscriptions::default());
    let answer = pin!(async {
        match route(&socket, &connection, &method, packet, &subscriptions).await {
            Ok(answer) => answer,
            Err(refusal) => refuse(&connection.peer, &method, ack_id, refusal).await,
        }
    });
    let answer = bounded(dispatcher.timeout, answer).await;
    connection.cookies().keep(answer.headers());
    metrics::request_answered(Transport::Socket, answer.status());
    let settled = subscriptions.settle(&connection.peer, answer.succeeded());
    if let Some(ack_id) = ack_id {
        deliver(&socket, &connection.peer, ack_id, &answer.ack(takes_binary(&socket), &settled)).await;
    }
    if settled.is_held() {
        // What is published meanwhile is kept for it.
        room(&connection.peer).await;
    }
    settled.live(&connection.peer);
}

/// Answers a request that could not be read.
async fn refuse(peer: &Peer, method: &Method, ack_id: Option<i64>, refusal: Error) -> Answer {
    tracing::debug!(transport = "socket", method = method.as_str(), status = refusal.status().as_u16(), "refused");
    let answer = Answer::whole(refusal).await;
    if ack_id.is_none() {
        // Without an ack the Sails client still hears of it, as an event.
        let settled = Settled::default();
        let error = answer.ack(false, &settled);
        peer.emit("sails:parseError", &error, error.bytes());
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
    socket: &Arc<Socket>,
    connection: &Arc<Connection>,
    method: &Method,
    packet: Option<Value>,
    subscriptions: &Arc<Subscriptions>,
) -> Result<Answer, Error> {
    let text: Bytes = match packet {
        Some(Value::Str(text, attachments)) if attachments.as_ref().is_none_or(|all| all.is_empty()) => text.into(),
        _ => return Err(Error::malformed("a request carries JSON only: send bytes as base64, or over HTTP")),
    };
    let lasting = connection.lasting.get_or_init(|| lasting_headers(&socket.req_parts().headers));
    let cookie = connection.cookies().header();
    let (mut request, resume) = virtual_request(method, &text, socket.req_parts(), lasting, cookie)?;
    if !resume.is_empty() {
        subscriptions.resume(resume);
    }
    let (peer, hub) = (connection.peer.clone(), connection.dispatcher.hub.clone());
    let request_socket = RequestSocket::of_request(socket.clone(), peer, hub, subscriptions.clone());
    request.extensions_mut().insert(request_socket);
    let mut router = connection.dispatcher.router.clone();
    let response = match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    Ok(Answer::collect(response, method).await)
}

/// Whether a binary attachment reaches this client whole. engineioxide frames one for Engine.IO 4 whatever the client
/// speaks, which an Engine.IO 3 client misreads over long-polling.
fn takes_binary(socket: &Socket) -> bool {
    socket.protocol() != ProtocolVersion::V4 || socket.transport_type() == TransportType::Websocket
}

/// Sends an ack, however long the client has no room for it: the library takes no waiting send, and an ack is never
/// dropped.
async fn deliver(socket: &Arc<Socket>, peer: &Peer, ack_id: i64, ack: &Ack<'_>) {
    let mut pause = Pause::default();
    while !try_deliver(socket, peer, ack_id, ack) {
        pause.next().await;
    }
}

/// Sends an ack; false if there is no room for it now.
fn try_deliver(socket: &Arc<Socket>, peer: &Peer, ack_id: i64, ack: &Ack<'_>) -> bool {
    peer.try_ack(ack.bytes(), || {
        // A failed send consumes its sender, so each try makes one.
        let Ok(sender) = AckSender::from_message_parts(socket, &mut Value::Bytes(Bytes::new()), &Some(ack_id));
        sender.send(ack)
    })
}

/// Waits until the client has read most of what it was sent, or is gone.
async fn room(peer: &Peer) {
    let mut pause = Pause::default();
    while !peer.has_room() && !peer.is_gone() {
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
struct Refusals {
    answer: Option<Answer>,
    waiting: VecDeque<(Arc<Socket>, Peer, i64)>,
}

impl Refusals {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Refuses a request. Fails when the client has been refused so often, and has read so little, that it is cut off.
    async fn add(&mut self, arrival: Arrival, limit: usize) -> Result<(), ()> {
        let Arrival { socket, connection, ack_id: Some(ack_id), .. } = arrival else {
            tracing::warn!("a request without an ack was dropped: too many in flight on its socket");
            metrics::request_dropped();
            return Ok(());
        };
        let peer = connection.peer.clone();
        if self.answer.is_none() {
            self.answer = Some(Answer::whole(Error::too_many_in_flight(limit)).await);
        }
        if self.waiting.len() >= MAX_REFUSALS {
            tracing::warn!(socket = peer.id(), "a socket was cut off: it sends without end and reads nothing");
            self.waiting.clear();
            peer.end();
            return Err(());
        }
        metrics::request_answered(Transport::Socket, StatusCode::TOO_MANY_REQUESTS);
        self.waiting.push_back((socket, peer, ack_id));
        self.flush();
        Ok(())
    }

    async fn retry(&mut self) {
        tokio::time::sleep(FIRST_RETRY).await;
        self.flush();
    }

    fn flush(&mut self) {
        let Some(answer) = &self.answer else { return };
        while let Some((socket, peer, ack_id)) = self.waiting.front() {
            if !try_deliver(socket, peer, *ack_id, &answer.ack(false, &Settled::default())) {
                break;
            }
            self.waiting.pop_front();
        }
    }
}
