//! From a CONNECT packet to a socket that is let in or refused, and from its end to whoever wants to hear of it.

use std::{
    fmt::Display,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{FromRequestParts, Request},
    http::{Method, header, request::Parts},
};
use catamaran_pubsub::{Resume, Subscriptions};
use futures_util::FutureExt;
use socketioxide::{
    adapter::LocalAdapter,
    handler::{ConnectHandler, DisconnectHandler, Value},
    socket::{DisconnectReason, Socket as IoSocket},
};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout_at},
};
use tower_service::Service;

use super::{
    Handshake, Socket, SocketSubscriber, VERBS,
    ack::{Answer, AnswerBudget},
    connection::{Connection, SocketRouter},
    dispatch::bounded,
    envelope::{Client, ConnectPayload},
    expiry::cut_unless_entered,
    queue::Dispatch,
    request::handshake_request,
};
use crate::{
    ClientAddr, Error,
    http::{ConnectionHandle, ConnectionPermit},
    logged, metrics,
};

/// Logs what became of a socket, from where it came, and of which page.
macro_rules! log {
    ($socket:expr, $message:literal $(, $field:ident = $value:expr)?) => {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let (client, origin) = origin_of($socket);
            tracing::debug!(client = client.map(display), origin = origin.map(display), $($field = $value,)? $message);
        }
    };
}

/// What an application does when sockets come and go: its handlers, inside its layers.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) connect: Option<Router>,
    pub(crate) disconnect: Option<Router>,
    /// Each `disconnect` under way holds a receiver.
    running: watch::Sender<()>,
}

impl Hooks {
    pub(crate) fn new(connect: Option<Router>, disconnect: Option<Router>) -> Self {
        Self { connect, disconnect, running: watch::Sender::default() }
    }

    /// Waits for the `disconnect`s that are under way.
    pub(crate) async fn finish(&self, deadline: Instant) {
        if timeout_at(deadline, self.running.closed()).await.is_err() {
            tracing::warn!("the server stops before all disconnects have been handled");
        }
    }
}

/// Where sockets are let in.
#[derive(Clone)]
pub(crate) struct Entrance {
    dispatcher: Arc<SocketRouter>,
    /// Dropped with it, when another handler takes the place of this one.
    _attached: Arc<()>,
}

/// Whether an entrance is still that of its namespace.
pub(crate) struct Attached(Weak<()>);

impl Entrance {
    pub(crate) fn new(dispatcher: Arc<SocketRouter>) -> (Self, Attached) {
        let attached = Arc::new(());
        let weak = Arc::downgrade(&attached);
        (Self { dispatcher, _attached: attached }, Attached(weak))
    }
}

impl Attached {
    pub(crate) fn is_attached(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Tells this handler from the closures that socketioxide implements the trait for.
pub(crate) enum ViaEntrance {}

impl ConnectHandler<LocalAdapter, ViaEntrance> for Entrance {
    /// Runs before the client is told that it is connected, which a handler does not: a request sent at once would meet
    /// no handler and get no ack.
    fn call_middleware<'a>(
        &'a self,
        socket: Arc<IoSocket>,
        payload: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        let limits = &self.dispatcher.connect;
        let payload = payload.as_ref().and_then(Value::as_str);
        let payload = payload.map_or_else(|| Ok(ConnectPayload::default()), |text| ConnectPayload::read(text, limits));
        Box::pin(async move {
            let admitted = match payload {
                Ok(payload) => admit(&self.dispatcher, &socket, payload).await,
                Err(too_large) => Err(Answer::whole(too_large).await),
            };
            match &admitted {
                Ok(()) => {
                    metrics::socket_accepted();
                    log!(&socket, "socket connected");
                }
                Err(refusal) => {
                    metrics::socket_refused(refusal.status());
                    log!(&socket, "socket refused", status = refusal.status().as_u16());
                }
            }
            if admitted.is_err() {
                cut_unless_entered(
                    &socket,
                    SocketSubscriber::of_socket(&socket, None, 0, Resume::new(), 0, Arc::default()),
                    self.dispatcher.heartbeat,
                );
            }
            admitted.map_err(|refusal| -> Box<dyn Display + Send> { Box::new(refusal.refusal()) })
        })
    }

    fn call(&self, socket: Arc<IoSocket>, _: Option<Value>) {
        let Some(connection) = connection(&socket) else { return };
        if !connection.enter() {
            // A newer connection of its client took its place before it could be told to go.
            let _ = socket.disconnect();
        }
    }
}

fn origin_of(socket: &IoSocket) -> (Option<ClientAddr>, Option<impl Display>) {
    let mut handshake = socket.req_parts().clone();
    let client = ClientAddr::from_request_parts(&mut handshake, &()).now_or_never().and_then(Result::ok);
    let origin = handshake.headers.remove(header::ORIGIN);
    let origin = origin.map(|origin| logged::value(String::from_utf8_lossy(origin.as_bytes()).into_owned()));
    (client, origin)
}

/// The requests of a socket that was let in.
pub(crate) fn connection(socket: &IoSocket) -> Option<Arc<Connection>> {
    socket.extensions.get()
}

/// Lets a socket in, or gives the answer that refuses it.
async fn admit(dispatcher: &Arc<SocketRouter>, socket: &Arc<IoSocket>, payload: ConnectPayload) -> Result<(), Answer> {
    let ConnectPayload { client, auth } = payload;
    let (name, number, resume) = match client {
        Some(Client { name, connection, resume }) => (Some(name), connection, resume),
        None => (None, 0, Resume::new()),
    };
    let (limit, slow) = (dispatcher.max_backlog_bytes, dispatcher.hub.slow_counter());
    let subscriber = SocketSubscriber::of_socket(socket, name, number, resume.clone(), limit, slow);
    let streams = dispatcher.hub.registry();
    // A proxy may deliver it when the client has long been on its next connection.
    if streams.sockets().has_newer(subscriber.subscriber()) {
        return Err(Answer::whole(Error::superseded()).await);
    }
    let connection = Arc::new(Connection::new(dispatcher.clone(), socket, subscriber.clone()));
    if let Some(hook) = &dispatcher.hooks.connect {
        let answer = ask(hook, &connection, socket, &subscriber, resume, auth.clone()).await;
        if !answer.succeeded() {
            return Err(answer);
        }
    }
    if dispatcher.hooks.disconnect.is_some() {
        let handshake = Arc::new(socket.req_parts().clone());
        let slot = handshake.extensions.get::<ConnectionHandle>().and_then(ConnectionHandle::slot);
        connection.remember(Visit { handshake, auth, slot });
    }
    for (verb, method) in VERBS {
        socket.on(verb, Dispatch { method, connection: connection.clone() });
    }
    socket.on_disconnect(Exit(connection.clone()));
    socket.extensions.insert(connection.clone());
    if !streams.connect(subscriber.subscriber()) {
        connection.close();
        return Err(Answer::whole(Error::superseded()).await);
    }
    // It was closed while it asked to be let in.
    if subscriber.is_gone() {
        connection.close();
        return Err(Answer::whole(Error::closed()).await);
    }
    Ok(())
}

/// Asks the hook whether to let a socket in.
async fn ask(
    hook: &Router,
    connection: &Connection,
    socket: &Arc<IoSocket>,
    subscriber: &SocketSubscriber,
    resume: Resume,
    auth: Option<Bytes>,
) -> Answer {
    let dispatcher = connection.dispatcher();
    let subscriptions = Arc::new(Subscriptions::default());
    subscriptions.resume(resume);
    let cookie = connection.cookies().header(socket.req_parts().uri.path());
    let mut request = handshake_request(socket.req_parts(), cookie, auth);
    let (subscriber, hub) = (subscriber.clone(), dispatcher.hub.clone());
    let handle = Socket::of_request(socket.clone(), subscriber, hub, subscriptions.clone());
    request.extensions_mut().insert(handle);
    let answer = run(hook.clone(), request, dispatcher.timeout, connection.answers().clone()).await;
    // A cookie without a path is for all requests: none of them goes to the path of the handshake.
    connection.cookies().keep(answer.headers(), "/");
    connection.subscribed(subscriptions);
    answer
}

/// Calls a hook, and waits for the whole of its answer.
async fn run(mut hook: Router, request: Request, limit: Duration, budget: AnswerBudget) -> Answer {
    bounded(limit, async {
        let response = match hook.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        Answer::collect(response, &Method::GET, &budget).await
    })
    .await
}

/// The end of a socket.
struct Exit(Arc<Connection>);

/// Tells this handler from the closures that socketioxide implements the trait for.
enum ViaExit {}

impl DisconnectHandler<LocalAdapter, ViaExit> for Exit {
    /// Here and now, where socketioxide's own handlers start a task: the next packet may connect the same socket anew.
    fn call_with_defer(&self, socket: Arc<IoSocket>, reason: DisconnectReason, defer: fn(Arc<IoSocket>)) {
        log!(&socket, "socket disconnected", reason = display(&reason));
        self.0.close();
        if matches!(reason, DisconnectReason::ClientNSDisconnect | DisconnectReason::ServerNSDisconnect) {
            cut_unless_entered(&socket, self.0.subscriber().clone(), self.0.dispatcher().heartbeat);
        }
        defer(socket);
    }
}

/// What is kept of a socket for the hook that hears of its end.
#[derive(Debug)]
pub(crate) struct Visit {
    handshake: Arc<Parts>,
    auth: Option<Bytes>,
    /// The place of its websocket, which is taken until the hook has ended, so that clients that come and go cannot have
    /// more hooks than connections. The place of a long-polling session lies in the extensions of the handshake.
    slot: Option<Arc<ConnectionPermit>>,
}

impl Visit {
    /// Calls the hook, in a task of its own: the socket's requests are cancelled with it, this is not.
    pub(crate) fn end(self, dispatcher: &Arc<SocketRouter>, connection: &Connection, subscriber: &SocketSubscriber) {
        // Without a runtime the process is at its end.
        let (Some(hook), Ok(runtime)) = (dispatcher.hooks.disconnect.clone(), Handle::try_current()) else { return };
        let cookie = connection.cookies().header(self.handshake.uri.path());
        let mut request = handshake_request(&self.handshake, cookie, self.auth);
        let socket =
            Socket::outside_request(Handshake::Kept(self.handshake), subscriber.clone(), dispatcher.hub.clone());
        request.extensions_mut().insert(socket);
        let (limit, budget) = (dispatcher.timeout, connection.answers().clone());
        let running = dispatcher.hooks.running.subscribe();
        runtime.spawn(async move {
            let answer = run(hook, request, limit, budget).await;
            if !answer.succeeded() {
                // Not its words: a rejection quotes what the client said as it connected.
                tracing::error!(status = answer.status().as_u16(), "a disconnect was not handled");
            }
            drop(running);
            drop(self.slot);
        });
    }
}
