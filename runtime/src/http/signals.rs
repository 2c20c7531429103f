//! What tells the process to stop.

#[cfg(unix)]
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A wish that the process end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM, of a supervisor.
    Terminate,
    /// Ctrl-C, of a terminal.
    Interrupt,
}

/// The signals from its creation on.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: Option<Stream>,
    interrupt: Option<Stream>,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> Self {
        Self { terminate: stream(SignalKind::terminate()), interrupt: stream(SignalKind::interrupt()) }
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = received(&mut self.terminate) => Signal::Terminate,
            () = received(&mut self.interrupt) => Signal::Interrupt,
        }
    }
}

#[cfg(unix)]
fn stream(kind: SignalKind) -> Option<Stream> {
    signal(kind).inspect_err(|error| tracing::error!(%error, ?kind, "cannot listen for a signal")).ok()
}

#[cfg(unix)]
async fn received(signals: &mut Option<Stream>) {
    match signals {
        Some(signals) => {
            signals.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Where there is Ctrl-C alone.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> Self {
        Self
    }

    pub(crate) async fn next(&mut self) -> Signal {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}
