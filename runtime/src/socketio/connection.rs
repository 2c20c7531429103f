//! One socket, from its CONNECT to its end.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use axum::{Router, http::HeaderMap};
use catamaran_pubsub::Subscriptions;
use socketioxide::socket::Socket as IoSocket;
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use super::{
    HeaderRules, Lifetimes, SocketSubscriber,
    ack::AnswerBudget,
    connect::{Hooks, Visit},
    cookies::Cookies,
    expiry::watch,
    message_rate::MessageRate,
    queue::Queue,
};
use crate::{Hub, http::Drain, metrics::OpenSocket};

/// What all sockets of an application share.
#[derive(Debug)]
pub(crate) struct SocketRouter {
    /// The finished router, which HTTP uses too.
    pub(crate) router: Router,
    /// How long a request may take, its answer's body included.
    pub(crate) timeout: Duration,
    /// How many requests of one socket may wait for their answers.
    pub(crate) max_in_flight: usize,
    /// How many bytes the packets of one socket's unanswered requests may have.
    pub(crate) max_in_flight_bytes: usize,
    /// How many bytes of answers one socket may have waiting.
    pub(crate) max_answer_bytes: usize,
    /// About how many bytes may wait for one socket before it is cut off.
    pub(crate) max_backlog_bytes: usize,
    /// How many requests a second one socket may send.
    pub(crate) max_messages_per_second: u32,
    /// When sockets end whatever their clients do.
    pub(crate) lifetimes: Lifetimes,
    /// How long a client that was refused may stay connected.
    pub(crate) heartbeat: Duration,
    /// Which headers packets may set.
    pub(crate) header_rules: HeaderRules,
    pub(crate) connect: ConnectLimits,
    /// The channels that sockets subscribe to.
    pub(crate) hub: Hub,
    /// What waits for requests to be answered when the server stops.
    pub(crate) drain: Drain,
    /// What the application does when sockets come and go.
    pub(crate) hooks: Hooks,
}

/// What a CONNECT packet may have, in bytes and in number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectLimits {
    /// The whole payload.
    pub(crate) bytes: usize,
    /// The application's part of it.
    pub(crate) auth: usize,
    /// The positions that are kept, and the names of their channels.
    pub(crate) positions: usize,
    pub(crate) name: usize,
}

/// One socket's requests.
///
/// It must not own its socket: the socket owns it, through the handlers of its events.
#[derive(Debug)]
pub(crate) struct Connection {
    dispatcher: Arc<SocketRouter>,
    subscriber: SocketSubscriber,
    cookies: Mutex<Cookies>,
    lasting: OnceLock<HeaderMap>,
    /// Made with the task behind it at the first request, since many sockets only listen.
    queue: OnceLock<Queue>,
    /// What the hook of a connecting socket subscribed to, until the client has been told that it is connected.
    subscribed: Mutex<Option<Arc<Subscriptions>>>,
    /// Where the answers to its requests wait.
    answers: AnswerBudget,
    /// The client has been told that it is connected.
    entered: Notify,
    pub(super) rate: MessageRate,
    /// How many requests are being answered, and when the last one came or was answered; none is kept if no socket may be
    /// idle for too long.
    activity: Option<Mutex<Activity>>,
    /// Ends the socket after its time.
    watch: OnceLock<AbortHandle>,
    /// What the hook is told that hears of the socket's end.
    visit: Mutex<Option<Box<Visit>>>,
    closed: AtomicBool,
    _open: OpenSocket,
}

impl Connection {
    /// The connection of a socket that is about to connect.
    pub(crate) fn new(dispatcher: Arc<SocketRouter>, socket: &Arc<IoSocket>, subscriber: SocketSubscriber) -> Self {
        let answers = AnswerBudget::new(dispatcher.max_answer_bytes);
        Self {
            subscriber,
            cookies: Mutex::new(Cookies::of(&socket.req_parts().headers)),
            lasting: OnceLock::new(),
            queue: OnceLock::new(),
            subscribed: Mutex::default(),
            answers,
            entered: Notify::new(),
            rate: MessageRate::new(dispatcher.max_messages_per_second),
            activity: dispatcher.lifetimes.idle.map(|_| Mutex::new(Activity { busy: 0, last: Instant::now() })),
            watch: OnceLock::new(),
            visit: Mutex::default(),
            closed: AtomicBool::new(false),
            _open: OpenSocket::count(),
            dispatcher,
        }
    }

    pub(crate) fn dispatcher(&self) -> &SocketRouter {
        &self.dispatcher
    }

    pub(super) fn subscriber(&self) -> &SocketSubscriber {
        &self.subscriber
    }

    pub(super) fn answers(&self) -> &AnswerBudget {
        &self.answers
    }

    pub(super) fn queue(&self) -> &Queue {
        self.queue.get_or_init(|| Queue::start(self.dispatcher.clone()))
    }

    /// The headers of the handshake that each request has, which are read once.
    pub(super) fn lasting(&self, read: impl FnOnce() -> HeaderMap) -> &HeaderMap {
        self.lasting.get_or_init(read)
    }

    /// Waits until the client has been told that it is connected; for the one task of the socket.
    pub(super) async fn entered(&self) {
        self.entered.notified().await;
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
    pub(crate) fn enter(self: &Arc<Self>) -> bool {
        self.subscriber.enter();
        if let Some(subscriptions) = lock(&self.subscribed).take() {
            let subscriber = self.subscriber.subscriber();
            subscriptions.settle(subscriber, true).live_aloud(subscriber);
        }
        self.entered.notify_one();
        if let Some(watch) = watch(self) {
            let _ = self.watch.set(watch);
        }
        !self.subscriber.is_gone()
    }

    /// A request has come, or has been answered.
    pub(super) fn active(&self, begins: bool) {
        if let Some(activity) = &self.activity {
            let mut activity = lock(activity);
            activity.busy = if begins { activity.busy + 1 } else { activity.busy.saturating_sub(1) };
            activity.last = Instant::now();
        }
    }

    /// Since when the socket is idle; none if it is not.
    pub(super) fn active_since(&self) -> Option<Instant> {
        let activity = lock(self.activity.as_ref()?);
        (activity.busy == 0).then_some(activity.last)
    }

    /// Ends the socket's subscriptions, and cancels what is under way, as hyper does when an HTTP client goes away.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.subscriber.mark_gone();
        self.dispatcher.hub.registry().leave_all(self.subscriber.subscriber());
        if let Some(subscriptions) = lock(&self.subscribed).take() {
            subscriptions.settle(self.subscriber.subscriber(), false);
        }
        if let Some(queue) = self.queue.get() {
            queue.end();
        }
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
        if let Some(visit) = lock(&self.visit).take() {
            visit.end(&self.dispatcher, self, &self.subscriber);
        }
    }
}

/// What a socket does.
#[derive(Debug)]
struct Activity {
    busy: usize,
    last: Instant,
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
