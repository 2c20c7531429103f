//! Keeps the connections: makes them, does what is to be done on them, and makes them anew when they end.

use std::{
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::sleep;

use super::{
    cleaner,
    connection::Failure,
    link::Link,
    news,
    session::{Opened, Session},
    values::lock,
};

/// The longest wait before it is tried again to connect, and the longest first one.
const MAX_WAIT: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Connects, and again whenever the connections end.
pub(super) async fn run(link: Arc<Link>) {
    let mut attempts = 0;
    while !link.left.load(Ordering::SeqCst) {
        match Session::open(&link.config, link.flow.node).await {
            Ok(mut opened) => {
                attempts = 0;
                let session = opened.session.clone();
                *lock(&link.session) = Some(session.clone());
                link.flow.up();
                let served = AssertUnwindSafe(serve(&link, &mut opened)).catch_unwind().await;
                *lock(&link.session) = None;
                session.close();
                match served {
                    Ok(failure) => tracing::warn!("the connection to postgres ended: {failure}"),
                    Err(_) => tracing::error!("task of the postgres connection panicked: connects again"),
                }
                link.flow.down();
            }
            Err(failure) => {
                if attempts == 0 {
                    tracing::warn!("postgres cannot be used as the broker, which is tried again: {failure}");
                }
                attempts += 1;
            }
        }
        sleep(wait_before(attempts)).await;
    }
}

/// Does what is to be done until a connection ends, and says why it did.
async fn serve(link: &Link, opened: &mut Opened) -> String {
    let session = &*opened.session;
    let failure = tokio::select! {
        Some(Ok(failure)) = opened.connections.join_next() => failure,
        Err(failure) = news::follow(session, link, &mut opened.seen) => failure,
        Err(failure) = session.beat() => failure,
        never = cleaner::clean(session, &link.config) => match never {},
        () = session.ended.notified() => Failure::Closed,
        else => Failure::Closed,
    };
    lock(&session.failed).take().unwrap_or_else(|| failure.to_string())
}

/// Any time up to a bound that grows, so that servers that lost a server together do not come back together.
fn wait_before(attempt: u32) -> Duration {
    let most = (FIRST_WAIT * 2_u32.pow(attempt.min(10))).min(MAX_WAIT);
    most.mul_f64((RandomState::new().hash_one(0) as f64) / (u64::MAX as f64))
}
