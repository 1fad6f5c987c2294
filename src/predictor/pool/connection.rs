//! One connection of the pool, through all its losses, and its lending to calls.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::predictor::Error;
use crate::predictor::address::Address;
use crate::predictor::pool::Shared;
use crate::predictor::signature::Terms;
use crate::predictor::triton::Link;

/// One connection, through all its losses.
#[derive(Debug)]
pub(in crate::predictor) struct Member {
    pub(in crate::predictor) address: Address,
    pub(in crate::predictor) label: String,
    /// Which of the address's connections; the first one writes the log.
    pub(in crate::predictor) number: usize,
    state: RwLock<State>,
    pub(in crate::predictor) in_flight: AtomicUsize,
    begin: Instant,
    /// Milliseconds from `begin` to the last answer, or to the call that ended idleness.
    heard: AtomicU64,
    /// Calls race against it: it changes when the predictor was found silent.
    pub(in crate::predictor) silenced: watch::Sender<()>,
    /// A call found the connection broken: it is looked at before others get it.
    pub(in crate::predictor) suspected: Notify,
    /// An answer made it doubtful that the model is still the right one.
    pub(in crate::predictor) doubted: Notify,
}

#[derive(Debug)]
pub(in crate::predictor) enum State {
    /// Being opened for the first time or after a loss: worth waiting for.
    Opening,
    Up {
        link: Link,
        terms: Terms,
        /// Calls at once: the predictor's stream limit, less one for the sign of life.
        room: usize,
        /// Tells this time of being up from others.
        epoch: u64,
    },
    /// Opening it failed; it is tried again, but nobody waits for it.
    Down(Reason),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::predictor) enum Reason {
    Unreachable(String),
    Misfit(String),
}

impl Reason {
    pub(in crate::predictor) fn text(&self) -> &str {
        match self {
            Self::Unreachable(text) | Self::Misfit(text) => text,
        }
    }
}

/// A connection lent to one call.
#[derive(Debug)]
pub(in crate::predictor) struct Lease {
    shared: Arc<Shared>,
    member: Arc<Member>,
    epoch: u64,
    room: usize,
    silenced: watch::Receiver<()>,
    pub(in crate::predictor) link: Link,
    pub(in crate::predictor) terms: Terms,
}

/// The connection that a failed call had, to be avoided by its retry.
#[derive(Clone, Debug)]
pub(in crate::predictor) struct Avoid {
    pub(in crate::predictor) member: Arc<Member>,
}

impl Member {
    pub(in crate::predictor) fn new(address: Address, number: usize) -> Self {
        Self {
            label: address.to_string(),
            address,
            number,
            state: RwLock::new(State::Opening),
            in_flight: AtomicUsize::new(0),
            begin: Instant::now(),
            heard: AtomicU64::new(0),
            silenced: watch::Sender::new(()),
            suspected: Notify::new(),
            doubted: Notify::new(),
        }
    }

    pub(in crate::predictor) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::predictor) fn error(&self, reason: &Reason) -> Error {
        match reason {
            Reason::Unreachable(text) => Error::Unreachable {
                address: self.label.clone(),
                reason: text.clone(),
            },
            Reason::Misfit(text) => Error::NotReady(format!("{}: {text}", self.label)),
        }
    }

    pub(in crate::predictor) fn heard(&self) {
        let now = self.begin.elapsed().as_millis() as u64;
        self.heard.store(now, Ordering::Relaxed);
    }

    /// How long calls have waited for any answer.
    pub(in crate::predictor) fn quiet(&self) -> Duration {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.begin.elapsed().saturating_sub(heard)
    }

    pub(in crate::predictor) fn set(&self, shared: &Shared, state: State) {
        let old = {
            let mut own = self.state.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *own, state)
        };
        if self.number == 0 {
            self.log(&old);
        }
        shared.state_changed();
    }

    /// One line for each change, not for each attempt.
    fn log(&self, old: &State) {
        let address = &self.label;
        match (&*self.state(), old) {
            (State::Down(new), State::Down(old)) if new == old => (),
            (State::Down(reason), _) => {
                tracing::warn!(%address, reason = reason.text(), "predictor not usable");
            }
            (State::Up { terms, .. }, State::Opening | State::Down(_)) => {
                let max_batch = match terms.max_batch {
                    usize::MAX => "any".to_owned(),
                    rows => rows.to_string(),
                };
                tracing::info!(%address, %max_batch, "predictor ready");
            }
            _ => (),
        }
    }
}

impl Lease {
    /// Nothing when the member is not up.
    pub(in crate::predictor) fn of(shared: &Arc<Shared>, member: &Arc<Member>) -> Option<Self> {
        let state = member.state();
        let State::Up {
            link,
            terms,
            room,
            epoch,
        } = &*state
        else {
            return None;
        };
        if member.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            // Idleness is no silence.
            member.heard();
        }
        Some(Self {
            shared: Arc::clone(shared),
            member: Arc::clone(member),
            epoch: *epoch,
            room: *room,
            silenced: member.silenced.subscribe(),
            link: link.clone(),
            terms: *terms,
        })
    }

    /// The address in messages.
    pub(in crate::predictor) fn label(&self) -> &str {
        &self.member.label
    }

    /// The predictor has answered something.
    pub(in crate::predictor) fn heard(&self) {
        self.member.heard();
    }

    /// Ends when the predictor was found silent.
    pub(in crate::predictor) async fn silenced(&mut self) {
        if self.silenced.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The call found the connection broken: nobody else gets it until it has been looked at.
    pub(in crate::predictor) fn suspect(&self) {
        let mut state = self
            .member
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Up { epoch, .. } if *epoch == self.epoch) {
            *state = State::Opening;
            drop(state);
            self.member.suspected.notify_one();
        }
    }

    /// The answer makes it doubtful that the model is still the right one.
    pub(in crate::predictor) fn doubt(&self) {
        self.member.doubted.notify_one();
    }

    /// What a retry is to avoid.
    pub(in crate::predictor) fn avoid(&self) -> Avoid {
        Avoid {
            member: Arc::clone(&self.member),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let before = self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if before >= self.room {
            self.shared.changed.send_replace(());
        }
    }
}
