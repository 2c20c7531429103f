//! Sessions of Engine.IO that begin by long-polling: many requests, over any connections, and perhaps a websocket at last.
//!
//! What is sent to such a session leaves in the answers to its polls, so no connection can tell how much that was. Here
//! the requests of one session are brought together.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    http::Method,
    response::Response,
};
use serde::Deserialize;
use tower_service::Service;

use super::Wire;

/// The largest answer to a handshake; it has about 120 bytes.
const MAX_HANDSHAKE: usize = 4096;

/// The sessions that began by long-polling and are still there, in front of the Engine.IO service.
#[derive(Clone, Debug)]
pub(crate) struct Sessions(Arc<Known>);

#[derive(Debug)]
struct Known {
    engine: Router,
    sessions: Mutex<HashMap<String, Weak<Inner>>>,
}

/// One session, as it lies in the extensions of the request that opened it.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Arc<Known>,
    /// Where its requests go.
    path: String,
    id: OnceLock<String>,
    /// How many bytes left in the answers to polls.
    polled: AtomicU64,
    upgrade: Mutex<Upgrade>,
}

#[derive(Debug, Default)]
enum Upgrade {
    #[default]
    None,
    /// To a websocket on this connection, to which so many bytes had been written before.
    To(Wire, u64),
    /// To a websocket on a connection that is not ours.
    Unseen,
}

impl Sessions {
    /// The sessions of an Engine.IO service.
    pub(crate) fn of<E>(engine: E) -> Self
    where
        E: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        E::Response: axum::response::IntoResponse,
        E::Future: Send + 'static,
    {
        let engine = Router::new().fallback_service(engine);
        Self(Arc::new(Known { engine, sessions: Mutex::default() }))
    }

    /// Answers a request of a session, or one that opens one.
    pub(crate) async fn serve(self, mut request: Request) -> Response {
        let session = parameter(&request, "sid").map(|id| self.0.lock().get(id).and_then(Weak::upgrade).map(Session));
        let is_poll = *request.method() == Method::GET && parameter(&request, "transport") == Some("polling");
        match session {
            Some(Some(session)) if is_poll => {
                let response = self.0.call(request).await;
                // The answer is whole; the connection that it leaves through looks after it from here.
                let bytes = response.body().size_hint().exact().unwrap_or_default();
                session.0.polled.fetch_add(bytes, Ordering::Release);
                response
            }
            Some(Some(session)) if parameter(&request, "transport") == Some("websocket") => {
                session.0.upgrade(request.extensions().get());
                self.0.call(request).await
            }
            None if is_poll => {
                let (id, polled, upgrade) = Default::default();
                let (known, path) = (self.0.clone(), request.uri().path().to_owned());
                let session = Session(Arc::new(Inner { known, path, id, polled, upgrade }));
                request.extensions_mut().insert(session.clone());
                session.open(self.0.call(request).await).await
            }
            _ => self.0.call(request).await,
        }
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
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// How many bytes left so far, on any way; `None` if they leave unseen.
    pub(crate) fn written(&self) -> Option<u64> {
        let polled = self.0.polled.load(Ordering::Acquire);
        match &*self.0.lock() {
            Upgrade::None => Some(polled),
            Upgrade::To(wire, before) => Some(polled + wire.written() - before),
            Upgrade::Unseen => None,
        }
    }

    /// Whether what waits has to wait for the client.
    pub(crate) fn is_blocked(&self) -> bool {
        match &*self.0.lock() {
            // For its next poll; what waits for one that is there is no more than a moment old.
            Upgrade::None => true,
            Upgrade::To(wire, _) => wire.is_blocked(),
            Upgrade::Unseen => false,
        }
    }

    /// Whether it goes on over a websocket.
    pub(crate) fn is_upgraded(&self) -> bool {
        !matches!(&*self.0.lock(), Upgrade::None)
    }

    /// Ends the session, as if its client had asked for that.
    pub(crate) fn end(&self) {
        if let Upgrade::To(wire, _) = &*self.0.lock() {
            wire.cut();
        }
        let Some(id) = self.0.id.get() else { return };
        let request = Request::post(format!("{}?EIO=4&transport=polling&sid={id}", self.0.path)).body(Body::from("1"));
        if let Ok(request) = request {
            let known = self.0.known.clone();
            tokio::spawn(async move { known.call(request).await });
        }
    }

    /// Reads from the answer to its handshake what the session is called.
    async fn open(self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        // It is in memory, so this neither waits nor fails.
        let body = to_bytes(body, MAX_HANDSHAKE).await.unwrap_or_default();
        let text = std::str::from_utf8(&body).unwrap_or_default();
        if let Some(start) = text.find('{')
            && let Ok(Opened { sid }) = serde_json::from_str(&text[start..])
        {
            self.0.known.lock().insert(sid.clone(), Arc::downgrade(&self.0));
            let _ = self.0.id.set(sid);
        }
        Response::from_parts(head, body.into())
    }
}

impl Inner {
    /// The session goes on over a websocket. A first try may have failed, and its connection have ended.
    fn upgrade(&self, wire: Option<&Wire>) {
        let mut upgrade = self.lock();
        if let Upgrade::To(current, before) = &*upgrade {
            if !current.is_dead() {
                return;
            }
            self.polled.fetch_add(current.written() - before, Ordering::Release);
        }
        *upgrade = wire.map_or(Upgrade::Unseen, |wire| Upgrade::To(wire.clone(), wire.written()));
    }

    fn lock(&self) -> MutexGuard<'_, Upgrade> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(id) = self.id.get() {
            self.known.lock().remove(id);
        }
    }
}

/// The packet that opens a session.
#[derive(Deserialize)]
struct Opened {
    sid: String,
}

/// A parameter of the query, read as Engine.IO's own server does.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut parameters = request.uri().query()?.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters.find(|(key, _)| *key == name).map(|(_, value)| value)
}
