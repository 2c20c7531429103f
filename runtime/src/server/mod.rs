//! The listener: connections, and how they end.

mod gate;
mod origin;
mod proxy;
mod stall;

use std::{future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
pub use origin::Origins;
pub use proxy::ClientAddr;
use socketioxide::SocketIo;
pub(crate) use stall::Cut;
use stall::StallGuard;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower_service::Service;
pub(crate) use {
    gate::{COOKIE_PATH, Gate, guard, serve_cookie},
    proxy::Proxies,
};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before the next accept, when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sockets may take to close when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts connections until `stop`, then drops those that are left.
///
/// A peer that takes none of the bytes it is sent for as long as `stall` is cut off.
pub(crate) async fn serve(listener: TcpListener, router: Router, stall: Duration, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, router.clone(), stall));
                }
                Err(error) => after_failed_accept(&error).await,
            },
            Some(_) = connections.join_next() => {}
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

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stall: Duration) {
    // Small frames wait up to 40 ms for an acknowledgement otherwise.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let stream = StallGuard::new(stream, stall);
    let cut = stream.cut();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(cut.clone());
        router.clone().call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Resolves at the first SIGTERM or Ctrl-C.
pub(crate) async fn stop_signal() {
    let ctrl_c = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot listen for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminate => {}
    }
}

/// Closes all sockets. A socket whose peer does not read can hold that up, so it has an end.
pub(crate) async fn close(io: &SocketIo) {
    if tokio::time::timeout(CLOSE_TIMEOUT, io.close()).await.is_err() {
        tracing::debug!("sockets were left open: their peers do not read");
    }
}
