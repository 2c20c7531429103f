//! The end of a server, in steps: it says that it is not ready, refuses what has not begun, and waits for the rest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Limited};
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::{
    Error, Hub,
    metrics::{self, Transport},
    socketio::SocketSubscriber,
};

/// How long a server that says it is not ready is taken for ready by those who ask it now and then.
const GRACE: Duration = Duration::from_secs(5);
/// How often to look whether all requests are answered. Looking costs a request nothing; being told would.
const LOOK: Duration = Duration::from_millis(10);
/// How much of a refused request's body is read, so that its client sees the answer and no reset.
const MAX_UNREAD: usize = 1024 * 1024;

/// How far a server is on its way to the end, and how many requests it has to answer before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    stage: AtomicU8,
    in_flight: AtomicUsize,
}

/// The stages after 0, at which the server answers as ever. It still does at this one, and asks its clients to go elsewhere.
const LEAVING: u8 = 1;
/// The server begins nothing new.
const REFUSING: u8 = 2;

/// The time that a drain may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long requests are still taken, for those who have not heard that the server is not ready.
    pub(crate) grace: Duration,
    /// How long the whole may take.
    pub(crate) deadline: Duration,
}

impl Limits {
    /// `announced` says whether anybody can ask if the server is ready.
    pub(crate) fn new(deadline: Duration, announced: bool) -> Self {
        let grace = if announced { GRACE.min(deadline / 2) } else { Duration::ZERO };
        Self { grace, deadline }
    }
}

impl Drain {
    /// Whether the server is about to stop.
    pub(crate) fn has_begun(&self) -> bool {
        self.stage() >= LEAVING
    }

    /// Whether what has not begun is refused. A request that asks after [`enter`](Self::enter) is waited for if it is
    /// told no.
    pub(crate) fn refuses(&self) -> bool {
        self.stage() >= REFUSING
    }

    /// Counts a request that begins, until what is returned is dropped.
    pub(crate) fn enter(&self, transport: Transport) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::SeqCst);
        metrics::request_began(transport);
        InFlight { drain: self.clone(), transport }
    }

    /// Goes through the steps. All requests that began are answered at the end of it, unless the deadline came first.
    pub(crate) async fn run(&self, hub: &Hub, grace: Duration, deadline: Instant) {
        tracing::info!(?grace, "the server stops: it is not ready any more");
        self.advance(LEAVING);
        sleep(grace).await;
        self.advance(REFUSING);
        let clients = hub.registry().sockets().clients().into_iter();
        let mut clients: Vec<_> = clients.filter_map(SocketSubscriber::of).collect();
        send_away(&clients, deadline.saturating_duration_since(Instant::now()));
        let answered = async {
            let mut look = interval(LOOK);
            while self.in_flight() > 0 || !clients.is_empty() {
                look.tick().await;
                clients.retain(|client| !client.is_gone());
            }
        };
        if timeout_at(deadline, answered).await.is_err() {
            tracing::warn!(requests = self.in_flight(), "the server stops before all requests are answered");
        }
    }

    fn stage(&self) -> u8 {
        self.0.stage.load(Ordering::SeqCst)
    }

    fn advance(&self, stage: u8) {
        self.0.stage.store(stage, Ordering::SeqCst);
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::SeqCst)
    }
}

/// A request that the server has to answer before it stops.
#[derive(Debug)]
pub(crate) struct InFlight {
    drain: Drain,
    transport: Transport,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::request_ended(self.transport);
        self.drain.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells our clients to go, one after the other, so that they do not all reach the next server at once. The last quarter
/// of the time is left for the answers that the last of them wait for.
fn send_away(clients: &[SocketSubscriber], time: Duration) {
    let mut after = Duration::ZERO;
    for client in clients {
        client.send_drain(after);
        after += time * 3 / 4 / clients.len() as u32;
    }
}

/// Answers a request that has not begun, and will not.
pub(crate) async fn refuse(request: Request) -> Response {
    let mut body = Limited::new(request.into_body(), MAX_UNREAD);
    while let Some(Ok(_)) = body.frame().await {}
    Error::draining().into_response()
}

/// Refuses new Socket.IO connections; those that are there go on.
pub(crate) async fn admit(State(drain): State<Drain>, request: Request, next: Next) -> Response {
    let has_session = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("sid=")));
    if drain.refuses() && !has_session { refuse(request).await } else { next.run(request).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_leaves_half_of_the_time() {
        let grace = |seconds, announced| Limits::new(Duration::from_secs(seconds), announced).grace.as_secs();
        assert_eq!([grace(10, true), grace(60, true), grace(4, true), grace(60, false)], [5, 5, 2, 0]);
    }

    #[tokio::test]
    async fn a_request_that_began_is_waited_for() {
        let (drain, hub) = (Drain::default(), Hub::default());
        let request = drain.enter(Transport::Http);
        assert!(!drain.refuses());
        let far = Instant::now() + Duration::from_secs(3600);
        let mut run = std::pin::pin!(drain.run(&hub, Duration::ZERO, far));
        tokio::select! {
            () = &mut run => panic!("the request was not waited for"),
            () = sleep(LOOK * 5) => {}
        }
        assert!(drain.refuses());
        drop(request);
        run.await;
    }

    #[tokio::test]
    async fn the_deadline_ends_it_all_the_same() {
        let (drain, hub) = (Drain::default(), Hub::default());
        let _request = drain.enter(Transport::Socket);
        drain.run(&hub, Duration::ZERO, Instant::now()).await;
    }
}
