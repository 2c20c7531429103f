//! Tasks that others rely on: a panic does not end them.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::sleep;

/// How long a task that panicked waits before it begins again.
const PAUSE: Duration = Duration::from_secs(1);

/// Does work to its end. If it panics, that is logged, and the work begins again after a pause.
pub(crate) async fn finish<F: Future<Output = ()>>(task: &'static str, mut work: impl FnMut() -> F) {
    while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
        tracing::error!(task, "task panicked: begins again");
        sleep(PAUSE).await;
    }
}
