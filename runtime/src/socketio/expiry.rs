//! The end of sockets that are idle or have lived for long, and of connections that no socket uses.

use std::{sync::Arc, time::Duration};

use socketioxide::{SocketIo, handler::FromConnectParts, socket::Socket as IoSocket};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use super::SocketSubscriber;
use super::connection::Connection;

/// How long a client has to leave by itself before its connection is cut.
const GRACE: Duration = Duration::from_secs(5);

/// When sockets end whatever their clients do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lifetimes {
    /// After so long without a request.
    pub(crate) idle: Option<Duration>,
    /// After so long at all.
    pub(crate) whole: Option<Duration>,
}

/// Watches a socket, if it may expire.
pub(super) fn watch(connection: &Arc<Connection>) -> Option<AbortHandle> {
    let Lifetimes { idle, whole } = connection.dispatcher().lifetimes;
    if idle.is_none() && whole.is_none() {
        return None;
    }
    let subscriber = connection.subscriber().clone();
    let connection = Arc::downgrade(connection);
    let opened = Instant::now();
    let task = tokio::spawn(async move {
        let mut active = opened;
        loop {
            let next = [idle.map(|idle| active + idle), whole.map(|whole| opened + whole)];
            let Some(next) = next.into_iter().flatten().min() else { return };
            sleep_until(next).await;
            let Some(connection) = connection.upgrade() else { return };
            if whole.is_some_and(|whole| opened.elapsed() >= whole) {
                tracing::debug!("socket reached its maximum lifetime");
                // The catamaran client connects again before it leaves. Others connect again when they are cut off.
                subscriber.send_drain(Duration::ZERO);
                return cut_later(subscriber);
            }
            active = connection.active_since().unwrap_or_else(Instant::now);
            if idle.is_some_and(|idle| active.elapsed() >= idle) {
                tracing::debug!("socket is idle and was closed");
                connection.dispatcher().hub.registry().close(subscriber.subscriber(), "idle");
                return cut_later(subscriber);
            }
        }
    });
    Some(task.abort_handle())
}

/// Cuts the connection of a socket whose client does not leave by itself.
fn cut_later(subscriber: SocketSubscriber) {
    tokio::spawn(async move {
        sleep(GRACE).await;
        subscriber.end();
    });
}

/// Cuts the connection of a socket that is gone or was refused, unless its client is in some namespace by then: the
/// library keeps it for as long as its client answers pings.
pub(super) fn cut_unless_entered(socket: &Arc<IoSocket>, subscriber: SocketSubscriber, patience: Duration) {
    let Ok(io) = SocketIo::from_connect_parts(socket, &None);
    let id = socket.id;
    tokio::spawn(async move {
        sleep(patience).await;
        if !io.nsps().iter().any(|namespace| namespace.get_socket(id).is_some()) {
            subscriber.end();
        }
    });
}
