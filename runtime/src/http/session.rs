//! Sessions of Engine.IO that begin by long-polling: many requests, over any connections, and perhaps a websocket at last.
//!
//! What is sent to such a session leaves in the answers to its polls, so no connection can tell how much that was. Here
//! the requests of one session are brought together.
//!
//! The id that Engine.IO gives a session is also the id of its socket, which is public. So it is no credential: clients are
//! given a secret in its place, and only that is accepted from outside.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::runtime::Handle;
use tower_service::Service;

use super::{
    ConnectionHandle, ConnectionLimiter,
    binding::{Binding, copied, take_key},
    payload::{self, Framing},
    slots::ConnectionPermit,
    websocket::{Websocket, Websockets},
};
use crate::{
    Error,
    socketio::{Reader, secret},
};

/// The largest answer to a handshake; it has about 120 bytes.
const MAX_HANDSHAKE: usize = 4096;
/// An id that no session of Engine.IO has.
const UNKNOWN: &str = "unknown";

/// The client of a request to Socket.IO, as the gate has found it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caller {
    pub(super) address: Option<IpAddr>,
    /// It is known to have come over TLS.
    pub(super) secure: bool,
}

/// The sessions that began by long-polling and are still there, in front of the Engine.IO service.
#[derive(Clone, Debug)]
pub(crate) struct Sessions(Arc<Known>);

#[derive(Debug)]
struct Known {
    engine: Router,
    websockets: Websockets,
    slots: ConnectionLimiter,
    /// How many bytes the head of a handshake may have, which is kept as long as its socket.
    max_head: usize,
    /// How many bytes a packet may have.
    max_packet: usize,
    /// By the secrets of their clients.
    sessions: Mutex<HashMap<String, Weak<Inner>>>,
}

/// One session, as it lies in the extensions of the request that opened it.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<Inner>);

struct Inner {
    known: Arc<Known>,
    /// Where its requests go.
    path: String,
    address: Option<IpAddr>,
    binding: Binding,
    ids: OnceLock<Ids>,
    reader: Mutex<Reader>,
    /// How many bytes left in the answers to polls.
    polled: AtomicU64,
    upgrade: Mutex<Upgrade>,
    /// Its place, unless the connection of its websocket has one.
    slot: Mutex<Option<ConnectionPermit>>,
}

struct Ids {
    /// Known to the client alone.
    secret: String,
    /// That of Engine.IO, and of the socket.
    public: String,
}

#[derive(Debug, Default)]
enum Upgrade {
    #[default]
    None,
    /// To a websocket on this connection, to which so many bytes had been written before.
    To(ConnectionHandle, u64),
    /// To a websocket on a connection that is not ours.
    Unseen,
}

impl Sessions {
    /// The sessions of an Engine.IO service.
    pub(crate) fn of<E>(engine: E, slots: ConnectionLimiter, max_head: usize, max_packet: usize) -> Self
    where
        E: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        <E as Service<Request>>::Response: IntoResponse,
        <E as Service<Request>>::Future: Send + 'static,
        E: Service<(Websocket, Request<()>), Response = ()>,
        <E as Service<(Websocket, Request<()>)>>::Future: Send,
        <E as Service<(Websocket, Request<()>)>>::Error: Send,
    {
        let websockets = Websockets::of(engine.clone());
        let engine = Router::new().fallback_service(engine);
        Self(Arc::new(Known { engine, websockets, slots, max_head, max_packet, sessions: Mutex::default() }))
    }

    /// Answers a request of a session, or one that opens one.
    pub(crate) async fn serve(self, request: Request) -> Response {
        let Some(secret) = parameter(request.uri(), "sid") else { return self.open(request).await };
        let session = self.0.lock().get(secret).and_then(Weak::upgrade).map(Session);
        let request = match &session {
            None => return self.0.call(with_sid(request, UNKNOWN)).await,
            Some(session) => match session.admit(&request) {
                Ok(public) => with_sid(request, public),
                Err(refusal) => return refusal.into_response(),
            },
        };
        if transport(request.uri()) == Some("websocket") {
            return self.websocket(request, session).await;
        }
        let is_poll = is_poll(&request);
        let request = match &session {
            Some(session) if *request.method() == Method::POST => session.readable(request).await,
            _ => request,
        };
        let response = self.0.call(request).await;
        if let Some(session) = session
            && is_poll
        {
            // The answer is whole; the connection that it leaves through looks after it from here.
            let bytes = response.body().size_hint().exact().unwrap_or_default();
            session.0.polled.fetch_add(bytes, Ordering::Release);
        }
        response
    }

    /// Answers the handshake of a websocket. Its connection is taken out of the request, so that Engine.IO does not wait for it.
    async fn websocket(&self, mut request: Request, session: Option<Session>) -> Response {
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let asked = Request::from_parts(parts.clone(), ());
        let response = self.0.call(Request::from_parts(parts, body)).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let known = self.0.clone();
            tokio::spawn(async move { known.websockets.open(upgrade, asked, session, known.max_packet).await });
        }
        response
    }

    /// Answers a handshake.
    async fn open(self, request: Request) -> Response {
        let is_poll = is_poll(&request);
        let (mut parts, body) = request.into_parts();
        if head_bytes(&parts) > self.0.max_head {
            return Error::handshake_too_large(self.0.max_head).into_response();
        }
        let caller = parts.extensions.get::<Caller>().copied().unwrap_or_default();
        if !is_poll {
            if !self.0.slots.has_room() {
                return Error::too_many_connections().into_response();
            }
            take_key(&mut parts.headers);
            own(&mut parts);
            return self.websocket(Request::from_parts(parts, body), None).await;
        }
        let Some(slot) = self.0.slots.take_session(caller.address) else {
            return Error::too_many_connections().into_response();
        };
        let (known, path, binding) = (self.0.clone(), parts.uri.path().to_owned(), Binding::new(&mut parts.headers));
        own(&mut parts);
        let (ids, reader, polled, upgrade) = Default::default();
        let (address, slot) = (caller.address, Mutex::new(Some(slot)));
        let session = Session(Arc::new(Inner { known, path, address, binding, ids, reader, polled, upgrade, slot }));
        parts.extensions.insert(session.clone());
        session.opened(self.0.call(Request::from_parts(parts, body)).await, caller.secure).await
    }
}

impl Known {
    async fn call(&self, request: Request) -> Response {
        match self.engine.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Inner>>> {
        lock(&self.sessions)
    }
}

impl Session {
    /// How many bytes left so far, on any way; `None` if they leave unseen.
    pub(crate) fn written(&self) -> Option<u64> {
        let polled = self.0.polled.load(Ordering::Acquire);
        match &*lock(&self.0.upgrade) {
            Upgrade::None => Some(polled),
            Upgrade::To(wire, before) => Some(polled + wire.written() - before),
            Upgrade::Unseen => None,
        }
    }

    /// Whether what waits has to wait for the client.
    pub(crate) fn is_blocked(&self) -> bool {
        match &*lock(&self.0.upgrade) {
            // For its next poll; what waits for one that is there is no more than a moment old.
            Upgrade::None => true,
            Upgrade::To(wire, _) => wire.is_blocked(),
            Upgrade::Unseen => false,
        }
    }

    /// Whether it goes on over a websocket.
    pub(crate) fn is_upgraded(&self) -> bool {
        !matches!(&*lock(&self.0.upgrade), Upgrade::None)
    }

    /// The session goes on over a websocket on this connection.
    pub(super) fn upgraded(&self, wire: Option<ConnectionHandle>) {
        self.0.upgrade(wire);
    }

    /// Ends the session, as if its client had asked for that.
    pub(crate) fn end(&self) {
        if let Upgrade::To(wire, _) = &*lock(&self.0.upgrade) {
            wire.cut();
        }
        self.give_up();
    }

    /// Ends the session unless it goes on over a websocket, where Engine.IO takes no packets by HTTP.
    pub(super) fn give_up(&self) {
        let Some(Ids { public, .. }) = self.0.ids.get() else { return };
        let request =
            Request::post(format!("{}?EIO=4&transport=polling&sid={public}", self.0.path)).body(Body::from("1"));
        if let (Ok(request), Ok(runtime)) = (request, Handle::try_current()) {
            let known = self.0.known.clone();
            runtime.spawn(async move { known.call(request).await });
        }
    }

    /// The same packets, as the library can read them.
    async fn readable(&self, request: Request) -> Request {
        let (mut parts, body) = request.into_parts();
        let limit = self.0.known.max_packet;
        let packets = match payload::collect(body, limit).await {
            Ok(packets) => packets,
            Err(body) => return Request::from_parts(parts, body),
        };
        let framing = Framing::of(parameter(&parts.uri, "EIO"), parts.headers.get(header::CONTENT_TYPE));
        let packets = framing.map(&packets, limit, |packet| lock(&self.0.reader).read(packet));
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(packets.len()));
        parts.headers.remove(header::TRANSFER_ENCODING);
        Request::from_parts(parts, framing.body(packets))
    }

    /// Lets a request of the session in, and returns the id by which Engine.IO knows it.
    fn admit(&self, request: &Request) -> Result<&str, Error> {
        self.0.binding.check(request.headers())?;
        if transport(request.uri()) != Some("websocket") && !self.0.has_place() {
            return Err(Error::too_many_connections());
        }
        Ok(self.0.ids.get().map_or(UNKNOWN, |ids| &ids.public))
    }

    /// Reads from the answer to its handshake what the session is called, and hides that from the client.
    async fn opened(self, response: Response, secure: bool) -> Response {
        let (mut head, body) = response.into_parts();
        // It is in memory, so this neither waits nor fails.
        let body = to_bytes(body, MAX_HANDSHAKE).await.unwrap_or_default();
        let secret = secret();
        let Some((public, body)) = open_packet(&body, &secret) else { return Response::from_parts(head, body.into()) };
        self.0.known.lock().insert(secret.clone(), Arc::downgrade(&self.0));
        let _ = self.0.ids.set(Ids { secret, public });
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        head.headers.extend(self.0.binding.set_cookie(secure).map(|cookie| (header::SET_COOKIE, cookie)));
        Response::from_parts(head, body.into())
    }
}

impl Inner {
    /// The session goes on over a websocket. A first try may have failed, and its connection have ended.
    fn upgrade(&self, wire: Option<ConnectionHandle>) {
        let has_place = wire.is_some();
        let mut upgrade = lock(&self.upgrade);
        if let Upgrade::To(current, before) = &*upgrade {
            if !current.is_dead() {
                return;
            }
            self.polled.fetch_add(current.written() - before, Ordering::Release);
        }
        *upgrade = wire.map_or(Upgrade::Unseen, |wire| {
            let before = wire.written();
            Upgrade::To(wire, before)
        });
        drop(upgrade);
        if has_place {
            drop(lock(&self.slot).take());
        }
    }

    /// Whether the session has a place: that of its websocket, or its own, which it takes again after an upgrade that failed.
    fn has_place(&self) -> bool {
        if matches!(&*lock(&self.upgrade), Upgrade::To(wire, _) if !wire.is_dead()) {
            return true;
        }
        let mut slot = lock(&self.slot);
        if slot.is_none() {
            *slot = self.known.slots.take_session(self.address);
        }
        slot.is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its secrets are nobody's.
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(Ids { secret, .. }) = self.ids.get() {
            self.known.lock().remove(secret);
        }
    }
}

/// The packet that opens a session.
#[derive(Deserialize)]
struct Opened {
    sid: String,
}

/// Puts a secret in the place of the id in the packet that opens a session. Returns the id and the packet, which Engine.IO 3
/// writes after its length.
fn open_packet(body: &Bytes, secret: &str) -> Option<(String, String)> {
    let text = std::str::from_utf8(body).ok()?;
    let start = text.find("0{")?;
    let packet = &text[start..];
    let Opened { sid } = serde_json::from_str(&packet[1..]).ok()?;
    let packet = packet.replacen(&sid, secret, 1);
    let length = if start > 0 { format!("{}:", packet.chars().count()) } else { String::new() };
    Some((sid, format!("{length}{packet}")))
}

/// How large the head of a request is, about as it was sent.
fn head_bytes(parts: &Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = |(name, value): (&header::HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    target + parts.headers.iter().map(line).sum::<usize>()
}

/// Copies the head of a handshake, which is kept as long as its socket: it shares its memory with all that was read with it.
fn own(parts: &mut Parts) {
    let mut headers = HeaderMap::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        headers.append(name.clone(), copied(value));
    }
    parts.headers = headers;
    if let Ok(uri) = Uri::try_from(parts.uri.to_string()) {
        parts.uri = uri;
    }
}

/// The same request, of the session that Engine.IO knows by this id.
fn with_sid(mut request: Request, id: &str) -> Request {
    let query = request.uri().query().unwrap_or_default();
    let others = query.split('&').filter(|parameter| !parameter.starts_with("sid="));
    let query = others.fold(String::new(), |query, other| query + other + "&");
    *request.uri_mut() = Uri::try_from(format!("{}?{query}sid={id}", request.uri().path())).unwrap_or_default();
    request
}

fn is_poll(request: &Request) -> bool {
    *request.method() == Method::GET && transport(request.uri()) == Some("polling")
}

pub(super) fn transport(uri: &Uri) -> Option<&str> {
    parameter(uri, "transport")?.split('=').next()
}

/// A parameter of the query, read as Engine.IO's own server does: what one of them takes for another would be a way past.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
}
