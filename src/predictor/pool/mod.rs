//! Several connections to several addresses. Calls go to the one that is likely to respond first, by
//! its latency and its calls in flight, among those that are ready and whose calls do not fail.

mod backoff;
pub(in crate::predictor) mod connection;
mod health;
mod supervisor;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::observe::metrics::{PredictorMetrics, Replica};
use crate::predictor::address::Address;
use crate::predictor::pool::connection::{
    Exclude, Exclusion, Lease, PooledConnection, Reservation, State,
};
use crate::predictor::pool::health::{ReplicaHealth, Standing};
use crate::predictor::signature::BatchLimits;
use crate::predictor::{Error, Readiness};

pub(in crate::predictor) use supervisor::PoolSettings;

/// The connections. Dropped, its tasks end; calls under way may still be answered.
#[derive(Debug)]
pub(in crate::predictor) struct Pool {
    settings: Arc<PoolSettings>,
    slots: RwLock<Vec<Slot>>,
    /// Where the search for the best begins, so that equals take turns.
    cursor: AtomicUsize,
    /// Changes when a connection's state does.
    changed: Arc<watch::Sender<()>>,
    readiness: watch::Sender<Readiness>,
    metrics: PredictorMetrics,
}

/// A connection and the task that supervises it.
#[derive(Debug)]
struct Slot {
    pooled: Arc<PooledConnection>,
    supervisor: JoinHandle<()>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Pool {
    /// A pool without addresses.
    pub(in crate::predictor) fn new(settings: PoolSettings, metrics: PredictorMetrics) -> Self {
        let reason = Readiness::NotReady("connecting to the predictor".to_owned());
        metrics.ready.set(0);
        Self {
            settings: Arc::new(settings),
            slots: RwLock::default(),
            cursor: AtomicUsize::new(0),
            changed: Arc::new(watch::Sender::new(())),
            readiness: watch::Sender::new(reason),
            metrics,
        }
    }

    /// Where the pool's readiness can be watched.
    pub(in crate::predictor) fn readiness(&self) -> &watch::Sender<Readiness> {
        &self.readiness
    }

    /// Works out the pool's readiness, and `metrics.ready`, at each change of a
    /// connection, until it is dropped.
    pub(in crate::predictor) async fn report_readiness(&self) {
        let mut changed = self.changed.subscribe();
        // The pool holds the other end.
        while changed.changed().await.is_ok() {
            if let Some(new) = self.aggregate_readiness() {
                let is_ready = matches!(new, Readiness::Ready { .. });
                self.metrics.ready.set(i64::from(is_ready));
                self.set_readiness(new);
            }
        }
    }

    /// How each address does at present.
    pub(in crate::predictor) fn replicas(&self) -> Vec<Replica> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut replicas: Vec<Replica> = Vec::new();
        for Slot { pooled, .. } in slots.iter() {
            let standing = pooled.health.standing();
            let up = matches!(&*pooled.state(), State::Ready(_)) && standing == Standing::InUse;
            let known = replicas
                .iter_mut()
                .find(|replica| replica.address == pooled.label);
            match known {
                // One connection is enough.
                Some(replica) => replica.up |= up,
                None => replicas.push(Replica {
                    address: pooled.label.clone(),
                    up,
                    ejected: standing != Standing::InUse,
                    latency: pooled.health.latency(now),
                }),
            }
        }
        replicas
    }

    fn set_readiness(&self, new: Readiness) {
        self.readiness.send_if_modified(|readiness| {
            let changed = new != *readiness;
            *readiness = new;
            changed
        });
    }

    /// Takes up new addresses and leaves those that are gone, where calls under way are still
    /// answered.
    pub(in crate::predictor) fn set_addresses(&self, addresses: &[Address]) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| {
            let stays = addresses.contains(&slot.pooled.address);
            if !stays && slot.pooled.number == 0 {
                tracing::info!(address = slot.pooled.label, "predictor address left");
            }
            stays
        });
        for address in addresses {
            if slots.iter().any(|slot| slot.pooled.address == *address) {
                continue;
            }
            let health = Arc::new(ReplicaHealth::new());
            for number in 0..self.settings.connections.max(1) {
                let (health, changed) = (Arc::clone(&health), Arc::clone(&self.changed));
                let model = &self.settings.signature.model;
                let pooled = PooledConnection::new(address.clone(), model, number, health, changed);
                let pooled = Arc::new(pooled);
                let (settings, own) = (Arc::clone(&self.settings), Arc::clone(&pooled));
                let supervisor =
                    tokio::spawn(async move { supervisor::supervise(&settings, &own).await });
                slots.push(Slot { pooled, supervisor });
            }
        }
        drop(slots);
        self.changed.send_replace(());
    }

    /// Says why there are no addresses, while there are none.
    pub(in crate::predictor) fn no_addresses(&self, reason: &str) {
        if self.slots.read().is_ok_and(|slots| slots.is_empty()) {
            self.set_readiness(Readiness::NotReady(reason.to_owned()));
        }
    }

    /// The connection that is likely to respond first, at another address than the one to exclude
    /// if there is one. Waits for those that are just being opened, and for its turn on a busy one.
    pub(in crate::predictor) async fn lease(
        &self,
        exclude: Option<&Exclude>,
    ) -> Result<Lease, Error> {
        let mut changed = self.changed.subscribe();
        loop {
            let reservation = match self.choose(exclude) {
                Choice::Connection(reservation) => reservation,
                Choice::None(error) => return Err(error),
                Choice::Wait => {
                    let _ = changed.changed().await;
                    continue;
                }
            };
            let permit = {
                let waiting = reservation.permit();
                tokio::pin!(waiting);
                loop {
                    tokio::select! {
                        permit = &mut waiting => break permit,
                        // Its place among those that wait is kept unless there is something better.
                        _ = changed.changed() => {
                            if !reservation.is_current() || self.has_room(exclude) {
                                break None;
                            }
                        }
                    }
                }
            };
            if let Some(permit) = permit {
                return Ok(reservation.into_lease(permit));
            }
        }
    }

    /// Whether a call that failed at one address may be sent to another one.
    pub(in crate::predictor) fn has_other_address(&self, exclude: &Exclude) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().any(|Slot { pooled, .. }| {
            exclude.exclusion(pooled) == Exclusion::OtherAddress
                && matches!(&*pooled.state(), State::Ready(_))
                && pooled.health.standing() != Standing::Ejected
        })
    }

    /// Whether a connection has room at once.
    fn has_room(&self, exclude: Option<&Exclude>) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().any(|Slot { pooled, .. }| {
            let excluded = exclude.map(|exclude| exclude.exclusion(pooled));
            excluded.is_none_or(|exclusion| exclusion == Exclusion::OtherAddress)
                && pooled.health.standing() == Standing::InUse
                && matches!(&*pooled.state(), State::Ready(ready) if ready.permits.available_permits() > 0)
        })
    }

    fn choose(&self, exclude: Option<&Exclude>) -> Choice {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        // A replica without a call yet is taken to be as quick as the quickest.
        let now = Instant::now();
        let latencies = slots
            .iter()
            .filter_map(|slot| slot.pooled.health.latency(now));
        let quickest = latencies.min().unwrap_or(Duration::ZERO);
        let start = self.cursor.fetch_add(1, Ordering::Relaxed);
        let mut best: Option<(Rank, &Arc<PooledConnection>)> = None;
        let mut connecting = false;
        let mut error = None;
        for i in 0..slots.len() {
            let pooled = &slots[(start + i) % slots.len()].pooled;
            match &*pooled.state() {
                State::Connecting => connecting = true,
                State::Failed(reason) => {
                    error.get_or_insert_with(|| pooled.error(reason));
                }
                State::Ready(_) => {
                    let rank = Rank::new(pooled, exclude, now, quickest);
                    if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                        best = Some((rank, pooled));
                    }
                }
            }
        }
        match best {
            // Better than what failed already, or fails again and again.
            Some((rank, _)) if connecting && rank.is_last_resort() => Choice::Wait,
            // It may have been lost since: then there is a change to wait for.
            Some((_, pooled)) => Reservation::new(pooled).map_or(Choice::Wait, Choice::Connection),
            None if connecting => Choice::Wait,
            None => Choice::None(error.unwrap_or_else(|| self.no_slots())),
        }
    }

    fn no_slots(&self) -> Error {
        Error::NotReady(match &*self.readiness.borrow() {
            Readiness::NotReady(reason) => reason.clone(),
            Readiness::Ready { .. } => "its last address has just been left".to_owned(),
        })
    }

    /// Ready with the smallest batch of the connections that are ready. While none is, but one is
    /// being opened, nothing is new.
    fn aggregate_readiness(&self) -> Option<Readiness> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Option<BatchLimits> = None;
        let mut connecting = false;
        let mut reason = None;
        for Slot { pooled, .. } in slots.iter() {
            match &*pooled.state() {
                State::Connecting => connecting = true,
                State::Ready(ready) => {
                    let limits = found.get_or_insert_with(|| ready.limits.clone());
                    limits.max_batch = limits.max_batch.min(ready.limits.max_batch);
                }
                State::Failed(failed) => {
                    reason.get_or_insert_with(|| failed.to_string());
                }
            }
        }
        match (found, reason) {
            (Some(limits), _) => Some(Readiness::Ready {
                max_batch: limits.max_batch,
                inputs: limits.inputs,
            }),
            (None, Some(reason)) if !connecting => Some(Readiness::NotReady(reason)),
            _ => None,
        }
    }
}

enum Choice {
    Connection(Reservation),
    Wait,
    None(Error),
}

/// The order in which connections are chosen, the best first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    exclusion: Exclusion,
    standing: Standing,
    /// Latency, squared, times the calls in flight and this one. Not squared, a replica that is ten
    /// times slower would get one call in a hundred as soon as its twin has ten in flight, and
    /// these would be the 99th percentile.
    cost: u128,
    /// For when nothing is known of latencies.
    in_flight: usize,
}

impl Rank {
    fn new(
        pooled: &Arc<PooledConnection>,
        exclude: Option<&Exclude>,
        now: Instant,
        quickest: Duration,
    ) -> Self {
        let in_flight = pooled.in_flight();
        let latency = pooled.health.latency(now).unwrap_or(quickest).as_nanos();
        let standing = match (pooled.health.standing(), exclude) {
            // A retry is not to be spent on a doubtful replica.
            (Standing::ProbeDue, Some(_)) => Standing::Ejected,
            (standing, _) => standing,
        };
        Self {
            exclusion: exclude.map_or(Exclusion::OtherAddress, |exclude| exclude.exclusion(pooled)),
            standing,
            cost: latency
                .saturating_pow(2)
                .saturating_mul(in_flight as u128 + 1),
            in_flight,
        }
    }

    fn is_last_resort(&self) -> bool {
        self.standing == Standing::Ejected
    }
}
