//! The listener: connections, and how they end.

mod binding;
pub(crate) mod client;
mod cross_site;
mod drain;
pub(crate) mod frames;
mod gate;
pub(crate) mod health;
pub(crate) mod lifecycle;
mod origin;
mod pace;
mod payload;
mod proxy;
#[cfg(feature = "rate-limit")]
pub(crate) mod rate_limit;
mod session;
mod signals;
mod slots;
mod stall;
mod target;
mod websocket;

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
pub(crate) use cross_site::CrossSite;
pub(crate) use drain::{Drain, InFlight, Limits, admit, refuse};
use futures_util::{
    FutureExt,
    future::{Either, ready},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
pub use origin::Origins;
use pace::MinBodyRate;
pub use proxy::ClientAddr;
#[cfg(feature = "rate-limit")]
pub(crate) use proxy::network;
#[cfg(feature = "rate-limit")]
pub use rate_limit::{RateLimit, RateLimited};
pub(crate) use session::{Session, Sessions};
use signals::{Signal, Signals};
use slots::turn_away;
pub(crate) use slots::{ConnectionLimiter, ConnectionPermit};
use socketioxide::SocketIo;
pub(crate) use stall::ConnectionHandle;
use stall::WriteTimeout;
pub(crate) use target::check_target;
use target::{check_host, needs_host};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tower_service::Service;
pub(crate) use {
    gate::{COOKIE_PATH, Gate, guard, serve_cookie},
    proxy::Proxies,
};

use crate::{
    logged,
    socketio::{Leaving, SocketRouter},
};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes the head of a request may have. The number of its headers is hyper's own limit, 100.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long to wait before the next accept, when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to close when there is no more time for answers.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the bus may take to tell the other servers that this one ends.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// An application, and how it is served.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) io: SocketIo,
    pub(crate) dispatcher: Arc<SocketRouter>,
    /// A peer that takes none of the bytes it is sent for as long is cut off.
    pub(crate) stall: Duration,
    /// A connection for which there is no place is closed.
    pub(crate) slots: ConnectionLimiter,
    pub(crate) limits: Limits,
}

impl Server {
    /// Serves until the process is told to stop, and ends what is left then.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let mut signals = Signals::listen();
        let mut connections = Connections::new(&self);
        let deadline = connections.accept_until(&listener, self.stop(&mut signals)).await;
        connections.accept_waiting(&listener);
        drop(listener);
        let Some(deadline) = deadline else {
            drop(connections);
            self.close_sockets(Instant::now() + CLOSE_TIMEOUT).await;
            return self.leave_bus().await;
        };
        // Long-polls wait for what their sockets are sent, so both end together.
        let close = async {
            let deadline = deadline + CLOSE_TIMEOUT;
            tokio::join!(self.close_sockets(deadline), connections.finish(deadline));
            self.leave_bus().await;
        };
        tokio::select! {
            () = close => {}
            _ = signals.next() => {}
        }
    }

    /// Says goodbye to the other servers of the application, which would wait for the answers of this one.
    async fn leave_bus(&self) {
        if timeout(LEAVE_TIMEOUT, self.dispatcher.hub.registry().leave_cluster()).await.is_err() {
            tracing::warn!("bus slow: other servers count on this one for a few seconds more");
        }
    }

    /// Waits for a signal, and drains. Returns the time at which the last answer must be out, or `None` if the server is to
    /// stop at once.
    async fn stop(&self, signals: &mut Signals) -> Option<Instant> {
        if signals.next().await == Signal::Interrupt {
            return None;
        }
        let deadline = Instant::now() + self.limits.deadline;
        let SocketRouter { drain, hub, .. } = &*self.dispatcher;
        tokio::select! {
            () = drain.run(hub, self.limits.grace, deadline) => Some(deadline),
            _ = signals.next() => None,
        }
    }

    /// Closes all sockets, and waits until the application has handled that. One whose peer does not read can hold that
    /// up, so it has an end.
    async fn close_sockets(&self, deadline: Instant) {
        let leaving = Leaving::of(&self.io);
        let close = async {
            if timeout_at(deadline, self.io.close()).await.is_err() {
                tracing::debug!("sockets were left open: their peers do not read");
            }
        };
        tokio::join!(close, leaving.finish(&self.dispatcher, deadline));
    }
}

/// The connections of a server that have not become sockets.
struct Connections {
    tasks: JoinSet<()>,
    router: Router,
    drain: Drain,
    stall: Duration,
    slots: ConnectionLimiter,
    /// Tells each of them to end, as soon as it is dropped.
    open: watch::Sender<()>,
}

impl Connections {
    fn new(server: &Server) -> Self {
        let (router, drain) = (server.router.clone(), server.dispatcher.drain.clone());
        let (stall, slots) = (server.stall, server.slots.clone());
        Self { tasks: JoinSet::new(), router, drain, stall, slots, open: watch::Sender::new(()) }
    }

    async fn accept_until<T>(&mut self, listener: &TcpListener, stop: impl Future<Output = T>) -> T {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                output = &mut stop => return output,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.add(stream, peer),
                    Err(error) => after_failed_accept(&error).await,
                },
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Accepts what has connected already, which the end of the listener would reset.
    fn accept_waiting(&mut self, listener: &TcpListener) {
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.add(stream, peer);
        }
    }

    fn add(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Small frames wait up to 40 ms for an acknowledgement otherwise.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it began");
            return;
        }
        let Some(slot) = self.slots.take(peer.ip()) else { return turn_away(&stream) };
        let stream = WriteTimeout::new(stream, self.stall, slot);
        self.tasks.spawn(connection(stream, peer, self.router.clone(), self.drain.clone(), self.open.subscribe()));
    }

    /// Ends those that are idle, and the others after the answer that they wait for.
    async fn finish(self, deadline: Instant) {
        let Self { mut tasks, open, .. } = self;
        drop(open);
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            tracing::debug!("connections were cut: their answers had no end in time");
        }
    }
}

async fn after_failed_accept(error: &io::Error) {
    // These end one connection before it began; anything else, such as too many open files, may last.
    let of_one_peer =
        [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !of_one_peer.contains(&error.kind()) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn connection(
    stream: WriteTimeout,
    peer: SocketAddr,
    router: Router,
    drain: Drain,
    mut closing: watch::Receiver<()>,
) {
    let wire = stream.wire();
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut request, pace) = MinBodyRate::of(request);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(wire.clone());
        let response = match check_host(&request, needs_host(&request)) {
            Ok(()) => Either::Left(router.clone().call(request)),
            Err(refusal) => Either::Right(ready(Ok(refusal.into_response()))),
        };
        let drain = drain.clone();
        async move {
            let response = response.await?;
            let response = if let Some(pace) = pace { pace.answer(response) } else { response };
            Ok::<_, Infallible>(last_if(drain.has_begun(), response))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_header_size(MAX_HEAD_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let outcome = tokio::select! {
        // A request that has arrived is answered, and then the connection ends.
        biased;
        outcome = &mut connection => outcome,
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = %logged::error(&error), "a connection ended with an error");
    }
}

/// Asks the client for another connection for its next request, if the server stops.
fn last_if(stops: bool, mut response: Response) -> Response {
    if stops && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
