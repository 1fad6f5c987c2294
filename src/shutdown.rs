//! When to stop: a signal, and the steps of a drain, seen by everything that holds a [`Shutdown`].

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Serving,
    /// Still serving, but connections are told not to be used again.
    Draining,
    /// No new connections; what runs is finished.
    Closing,
    /// What still runs is cut off.
    Terminated,
}

/// Sees the phases of the end. Clones see the same.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<Phase>);

/// Sets the phases. When it is dropped, the last one is reached.
#[derive(Debug)]
pub(crate) struct ShutdownHandle(watch::Sender<Phase>);

/// The two ends of a shutdown.
pub(crate) fn channel() -> (ShutdownHandle, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (ShutdownHandle(sender), Shutdown(receiver))
}

impl ShutdownHandle {
    /// Goes on to a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}

impl Shutdown {
    /// Whether a phase, or one behind it, is reached.
    pub(crate) fn has_reached(&self, phase: Phase) -> bool {
        // A dropped handle keeps the last phase that it set; nothing is told apart behind it.
        *self.0.borrow() >= phase
    }

    /// Waits for a phase, or one behind it.
    pub(crate) async fn reached(&self, phase: Phase) {
        // An error is a dropped handle: all phases are reached.
        let _ = self.0.clone().wait_for(|&now| now >= phase).await;
    }
}

/// From now on signals are taken; what is returned waits for SIGTERM or SIGINT and gives its name. SIGHUP, by which many servers are told to read their
/// files again, would end the process without a drain: it is taken and does nothing, since files
/// are read again when they change.
///
/// # Errors
///
/// When the system does not let us listen for signals.
pub(crate) fn signals() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = term.recv() => return "SIGTERM",
                _ = interrupt.recv() => return "SIGINT",
                _ = hangup.recv() => tracing::info!(
                    "SIGHUP has no effect: certificates and tokens are read again when their files \
                     change"
                ),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_clones_reach_the_phases_and_end_with_the_handle() {
        let (handle, shutdown) = channel();
        let other = shutdown.clone();
        handle.enter(Phase::Closing);
        other.reached(Phase::Closing).await;
        drop(handle);
        shutdown.reached(Phase::Terminated).await;
    }
}
