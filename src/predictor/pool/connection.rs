//! One connection of the pool, through all its losses, and its lending to calls.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::predictor::Error;
use crate::predictor::address::Address;
use crate::predictor::pool::health::{ReplicaHealth, Standing};
use crate::predictor::signature::BatchLimits;
use crate::predictor::triton::Connection;
use crate::wire::tensor::DataType;

/// A place of the pool, whose connection is opened again whenever it is lost. Calls lease it, its
/// supervisor sets its state, and both tell the other what they found out.
#[derive(Debug)]
pub(in crate::predictor) struct PooledConnection {
    /// The predictor's name of the model.
    model: String,
    pub(in crate::predictor) address: Address,
    /// The address in messages.
    pub(in crate::predictor) label: String,
    /// Which of the address's connections; the first one writes the log.
    pub(in crate::predictor) number: usize,
    /// Shared by the address's connections.
    pub(super) health: Arc<ReplicaHealth>,
    state: RwLock<State>,
    /// Calls that have it or wait for it.
    in_flight: AtomicUsize,
    begin: Instant,
    /// Milliseconds from `begin` to the last response, or to the call that ended idleness.
    last_response: AtomicU64,
    /// Calls race against it: it changes when the predictor was found unresponsive.
    unresponsive: watch::Sender<()>,
    /// A call found the connection broken: it is checked before others get it.
    recheck_connection: Notify,
    /// A response made it doubtful that the model is still the right one.
    recheck_model: Notify,
    /// The pool's: changes with every state of every connection.
    changed: Arc<watch::Sender<()>>,
}

/// What a connection is good for. The supervisor makes every change but one:
///
/// | state | event | new state |
/// |---|---|---|
/// | `Connecting` | opened, and the model fits | `Ready` |
/// | `Connecting` | refused, unanswered, or the model does not fit | `Failed` |
/// | `Ready` | a call found it broken (the call's lease says so) | `Connecting` |
/// | `Ready` | lost, or the model does not fit any more | `Connecting` |
/// | `Ready` | no sign of life | `Connecting` |
/// | `Failed` | opened in the background, and the model fits | `Ready` |
#[derive(Debug)]
pub(in crate::predictor) enum State {
    /// Being opened for the first time or after a loss: worth waiting for.
    Connecting,
    /// Calls may use it.
    Ready(Ready),
    /// Opening it failed; it is tried again, but no call waits for it.
    Failed(Reason),
}

/// A connection that stands.
#[derive(Clone, Debug)]
pub(in crate::predictor) struct Ready {
    pub(in crate::predictor) connection: Connection,
    pub(in crate::predictor) limits: BatchLimits,
    /// Calls at once: the predictor's stream limit, less one for the sign of life. Calls beyond
    /// wait in the order in which they came.
    pub(in crate::predictor) permits: Arc<Semaphore>,
    /// Tells this time of being ready from others.
    pub(in crate::predictor) generation: u64,
}

/// Why a connection is `Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::predictor) enum Reason {
    Unreachable(String),
    ContractMismatch(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(text) => write!(f, "cannot reach it: {text}"),
            Self::ContractMismatch(text) => f.write_str(text),
        }
    }
}

impl PooledConnection {
    /// Not opened yet. `changed` is told of every change of state.
    pub(super) fn new(
        address: Address,
        model: &str,
        number: usize,
        health: Arc<ReplicaHealth>,
        changed: Arc<watch::Sender<()>>,
    ) -> Self {
        Self {
            label: address.to_string(),
            model: model.to_owned(),
            address,
            number,
            health,
            state: RwLock::new(State::Connecting),
            in_flight: AtomicUsize::new(0),
            begin: Instant::now(),
            last_response: AtomicU64::new(0),
            unresponsive: watch::Sender::new(()),
            recheck_connection: Notify::new(),
            recheck_model: Notify::new(),
            changed,
        }
    }

    pub(in crate::predictor) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that have it or wait for it.
    pub(in crate::predictor) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The error of a call that finds it `Failed`.
    pub(in crate::predictor) fn error(&self, reason: &Reason) -> Error {
        match reason {
            Reason::Unreachable(text) => Error::Unreachable(text.clone()),
            Reason::ContractMismatch(text) => Error::NotReady(text.clone()),
        }
    }

    pub(in crate::predictor) fn record_response(&self) {
        let now = self.begin.elapsed().as_millis() as u64;
        self.last_response.store(now, Ordering::Relaxed);
    }

    /// How long calls have waited for any response.
    pub(in crate::predictor) fn silent_for(&self) -> Duration {
        if self.in_flight() == 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last_response.load(Ordering::Relaxed));
        self.begin.elapsed().saturating_sub(last)
    }

    /// Ends the calls that wait for a predictor which gives no sign of life.
    pub(in crate::predictor) fn set_unresponsive(&self) {
        self.unresponsive.send_replace(());
    }

    /// Ends when a call found the connection broken.
    pub(in crate::predictor) async fn recheck_connection(&self) {
        self.recheck_connection.notified().await;
    }

    /// Ends when a response made the model doubtful.
    pub(in crate::predictor) async fn recheck_model(&self) {
        self.recheck_model.notified().await;
    }

    pub(in crate::predictor) fn set(&self, state: State) {
        let old = {
            let mut own = self.state.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *own, state)
        };
        if self.number == 0 {
            self.log(&old);
        }
        self.changed.send_replace(());
    }

    /// One line for each change, not for each attempt.
    fn log(&self, old: &State) {
        let (address, model) = (&self.label, &self.model);
        match (&*self.state(), old) {
            (State::Failed(new), State::Failed(old)) if new == old => (),
            (State::Failed(reason), _) => {
                tracing::warn!(%address, model, %reason, "predictor not usable");
            }
            (State::Ready(ready), State::Connecting | State::Failed(_)) => {
                let max_batch = match ready.limits.max_batch {
                    usize::MAX => "any".to_owned(),
                    rows => rows.to_string(),
                };
                let inputs = DataType::list(&ready.limits.inputs);
                tracing::info!(%address, model, %max_batch, inputs, "predictor ready");
                if !ready.limits.tensors_known {
                    tracing::warn!(
                        %address,
                        model,
                        "the predictor does not say which tensors its model has; whether they fit \
                         shows with the first call"
                    );
                }
            }
            _ => (),
        }
    }
}

/// A call's claim on a connection, which counts among its calls in flight.
#[derive(Debug)]
struct Claim(Arc<PooledConnection>);

impl Claim {
    fn new(pooled: &Arc<PooledConnection>) -> Self {
        if pooled.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            // Idleness is not silence.
            pooled.record_response();
        }
        Self(Arc::clone(pooled))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A claim that waits for its turn on the connection.
#[derive(Debug)]
pub(super) struct Reservation {
    claim: Claim,
    ready: Ready,
    probe: Option<Probe>,
}

/// A call that finds out whether an ejected replica is well again.
#[derive(Debug)]
struct Probe(Arc<ReplicaHealth>);

impl Drop for Probe {
    fn drop(&mut self) {
        // After a result there is no probe to abandon.
        self.0.abandon_probe();
    }
}

/// A connection lent to one call; dropped, it is given back.
#[derive(Debug)]
pub(in crate::predictor) struct Lease {
    claim: Claim,
    ready: Ready,
    begin: Instant,
    _probe: Option<Probe>,
    _permit: OwnedSemaphorePermit,
}

/// The connection that a failed call had, to be excluded from its retry.
#[derive(Clone, Debug)]
pub(in crate::predictor) struct Exclude(Arc<PooledConnection>);

/// How much a retry wants to have nothing to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::predictor) enum Exclusion {
    OtherAddress,
    SameAddress,
    SameConnection,
}

impl Exclude {
    pub(in crate::predictor) fn exclusion(&self, other: &Arc<PooledConnection>) -> Exclusion {
        if Arc::ptr_eq(&self.0, other) {
            Exclusion::SameConnection
        } else if self.0.address == other.address {
            Exclusion::SameAddress
        } else {
            Exclusion::OtherAddress
        }
    }
}

impl Reservation {
    /// Nothing when the connection is not ready any more.
    pub(super) fn new(pooled: &Arc<PooledConnection>) -> Option<Self> {
        let state = pooled.state();
        let State::Ready(ready) = &*state else {
            return None;
        };
        let health = &pooled.health;
        let probe = health.try_probe().then(|| Probe(Arc::clone(health)));
        Some(Self {
            claim: Claim::new(pooled),
            ready: ready.clone(),
            probe,
        })
    }

    /// Whether it is worth waiting for.
    pub(super) fn is_current(&self) -> bool {
        let (pooled, generation) = (&self.claim.0, self.ready.generation);
        let is_well = self.probe.is_some() || pooled.health.standing() == Standing::InUse;
        is_well && matches!(&*pooled.state(), State::Ready(ready) if ready.generation == generation)
    }

    /// Ends when it is the call's turn.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.ready.permits).acquire_owned().await.ok()
    }

    pub(super) fn into_lease(self, permit: OwnedSemaphorePermit) -> Lease {
        Lease {
            claim: self.claim,
            ready: self.ready,
            begin: Instant::now(),
            _probe: self.probe,
            _permit: permit,
        }
    }
}

impl Lease {
    fn pooled(&self) -> &PooledConnection {
        &self.claim.0
    }

    /// The address in log lines.
    pub(in crate::predictor) fn label(&self) -> &str {
        &self.pooled().label
    }

    pub(in crate::predictor) fn connection(&self) -> &Connection {
        &self.ready.connection
    }

    pub(in crate::predictor) fn limits(&self) -> &BatchLimits {
        &self.ready.limits
    }

    /// Ends when the predictor was found unresponsive.
    pub(in crate::predictor) async fn unresponsive(&self) {
        let mut unresponsive = self.pooled().unresponsive.subscribe();
        if unresponsive.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The predictor gave the output.
    pub(in crate::predictor) fn record_success(&self) {
        self.pooled().record_response();
        self.readmit(Some(self.begin.elapsed()));
    }

    /// The predictor refused the call with a reason.
    pub(in crate::predictor) fn record_refusal(&self) {
        self.pooled().record_response();
        self.readmit(None);
    }

    fn readmit(&self, latency: Option<Duration>) {
        if self.pooled().health.record_success(latency) {
            tracing::info!(address = self.label(), "predictor in use again");
            self.pooled().changed.send_replace(());
        }
    }

    /// The predictor responded, but not as a well one does. That makes it doubtful too that the
    /// model is still the right one.
    pub(in crate::predictor) fn record_failure(&self) {
        self.pooled().record_response();
        self.log_ejection(self.pooled().health.record_failure());
        self.pooled().recheck_model.notify_one();
    }

    /// The caller's time was up before the predictor responded.
    pub(in crate::predictor) fn record_timeout(&self) {
        self.log_ejection(self.pooled().health.record_timeout(self.begin.elapsed()));
    }

    fn log_ejection(&self, delay: Option<Duration>) {
        if let Some(delay) = delay {
            tracing::warn!(
                address = self.label(),
                seconds = delay.as_secs_f64(),
                "predictor ejected: its calls fail"
            );
            // Calls that wait for it may go elsewhere.
            self.pooled().changed.send_replace(());
        }
    }

    /// The call found the connection broken: no other call gets it until it has been checked.
    pub(in crate::predictor) fn recheck_connection(&self) {
        let pooled = self.pooled();
        let mut state = pooled.state.write().unwrap_or_else(PoisonError::into_inner);
        let generation = self.ready.generation;
        if matches!(&*state, State::Ready(ready) if ready.generation == generation) {
            *state = State::Connecting;
            drop(state);
            pooled.recheck_connection.notify_one();
            pooled.changed.send_replace(());
        }
    }

    /// What a retry is to exclude.
    pub(in crate::predictor) fn exclude(&self) -> Exclude {
        Exclude(Arc::clone(&self.claim.0))
    }
}
