//! Several connections to several addresses: calls go to the one with the least in flight among
//! those that are ready.

pub(in crate::predictor) mod connection;
mod supervisor;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::observe::metrics::Metrics;
use crate::predictor::address::Address;
use crate::predictor::pool::connection::{
    Exclude, Exclusion, Lease, PooledConnection, Reason, State,
};
use crate::predictor::{Error, Readiness};

pub(in crate::predictor) use supervisor::PoolSettings;

/// The connections. Dropped, its tasks end; calls under way may still be answered.
#[derive(Debug)]
pub(in crate::predictor) struct Pool {
    settings: Arc<PoolSettings>,
    slots: RwLock<Vec<Slot>>,
    /// Where the search for the least busy begins, so that equals take turns.
    cursor: AtomicUsize,
    /// Changes when a connection's state does, or when a full one has room again.
    changed: Arc<watch::Sender<()>>,
    readiness: watch::Sender<Readiness>,
    metrics: Arc<Metrics>,
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
    pub(in crate::predictor) fn new(settings: PoolSettings, metrics: Arc<Metrics>) -> Self {
        let reason = Readiness::NotReady("connecting to the predictor".to_owned());
        metrics.predictor_ready.set(0);
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

    /// Works out the pool's readiness, and `metrics.predictor_ready`, at each change of a
    /// connection, until it is dropped.
    pub(in crate::predictor) async fn report_readiness(&self) {
        let mut changed = self.changed.subscribe();
        // The pool holds the other end.
        while changed.changed().await.is_ok() {
            if let Some(new) = self.aggregate_readiness() {
                let is_ready = matches!(new, Readiness::Ready { .. });
                self.metrics.predictor_ready.set(i64::from(is_ready));
                self.set_readiness(new);
            }
        }
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
            for number in 0..self.settings.connections.max(1) {
                let changed = Arc::clone(&self.changed);
                let pooled = Arc::new(PooledConnection::new(address.clone(), number, changed));
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

    /// The least busy connection that is ready, at another address than the one to exclude if there
    /// is one. Waits for those that are just being opened.
    pub(in crate::predictor) async fn lease(
        &self,
        exclude: Option<&Exclude>,
    ) -> Result<Lease, Error> {
        let mut changed = self.changed.subscribe();
        loop {
            match self.choose(exclude) {
                Choice::Lease(lease) => return Ok(*lease),
                Choice::None(error) => return Err(error),
                Choice::Wait => {
                    let _ = changed.changed().await;
                }
            }
        }
    }

    fn choose(&self, exclude: Option<&Exclude>) -> Choice {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let start = self.cursor.fetch_add(1, Ordering::Relaxed);
        let mut best: Option<((Exclusion, usize), &Arc<PooledConnection>)> = None;
        let mut wait = false;
        let mut error = None;
        for i in 0..slots.len() {
            let pooled = &slots[(start + i) % slots.len()].pooled;
            match &*pooled.state() {
                State::Connecting => wait = true,
                State::Failed(reason) => {
                    error.get_or_insert_with(|| pooled.error(reason));
                }
                State::Ready(ready) => {
                    let in_flight = pooled.in_flight();
                    if in_flight >= ready.max_in_flight {
                        wait = true;
                        continue;
                    }
                    let exclusion = exclude
                        .map_or(Exclusion::OtherAddress, |exclude| exclude.exclusion(pooled));
                    let key = (exclusion, in_flight);
                    if best.is_none_or(|(other, _)| key < other) {
                        best = Some((key, pooled));
                    }
                }
            }
        }
        match best {
            // It may have been lost since: then there is a change to wait for.
            Some((_, pooled)) => match Lease::new(pooled) {
                Some(lease) => Choice::Lease(Box::new(lease)),
                None => Choice::Wait,
            },
            None if wait => Choice::Wait,
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
        let mut max_batch = None;
        let mut connecting = false;
        let mut reason = None;
        for Slot { pooled, .. } in slots.iter() {
            match &*pooled.state() {
                State::Connecting => connecting = true,
                State::Ready(ready) => {
                    let least = max_batch.unwrap_or(usize::MAX).min(ready.limits.max_batch);
                    max_batch = Some(least);
                }
                State::Failed(failed) => {
                    let text = |failed: &Reason| format!("{}: {}", pooled.label, failed.text());
                    reason.get_or_insert_with(|| text(failed));
                }
            }
        }
        match (max_batch, reason) {
            (Some(max_batch), _) => Some(Readiness::Ready { max_batch }),
            (None, Some(reason)) if !connecting => Some(Readiness::NotReady(reason)),
            _ => None,
        }
    }
}

enum Choice {
    Lease(Box<Lease>),
    Wait,
    None(Error),
}
