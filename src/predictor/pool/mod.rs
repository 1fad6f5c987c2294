//! Several connections to several addresses: calls go to the one with the least in flight among
//! those that are up.

pub(in crate::predictor) mod connection;
mod supervisor;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::observe::metrics::Metrics;
use crate::predictor::address::Address;
use crate::predictor::pool::connection::{Avoid, Lease, Member, State};
use crate::predictor::pool::supervisor::keep_up;
use crate::predictor::triton::Access;
use crate::predictor::{Error, Readiness, Signature};

/// What the pool needs to know.
#[derive(Debug)]
pub(in crate::predictor) struct Plan {
    pub(in crate::predictor) signature: Signature,
    pub(in crate::predictor) connections: usize,
    pub(in crate::predictor) connect_timeout: Duration,
    pub(in crate::predictor) default_max_batch: usize,
    pub(in crate::predictor) access: Access,
}

/// The connections. Dropped, its tasks end; calls under way may still be answered.
#[derive(Debug)]
pub(in crate::predictor) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(in crate::predictor) struct Shared {
    pub(in crate::predictor) plan: Plan,
    slots: RwLock<Vec<Slot>>,
    /// Where the search for the least busy begins, so that equals take turns.
    turn: AtomicUsize,
    /// Bumped when a connection's state changed, or a full one has room again.
    pub(in crate::predictor) changed: watch::Sender<()>,
    readiness: watch::Sender<Readiness>,
    metrics: Arc<Metrics>,
}

/// A member and the task that keeps it up.
#[derive(Debug)]
struct Slot {
    member: Arc<Member>,
    task: JoinHandle<()>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pool {
    /// A pool without addresses. `metrics.predictor_ready` follows its readiness.
    pub(in crate::predictor) fn new(plan: Plan, metrics: Arc<Metrics>) -> Self {
        let reason = Readiness::NotReady("connecting to the predictor".to_owned());
        metrics.predictor_ready.set(0);
        Self {
            shared: Arc::new(Shared {
                plan,
                slots: RwLock::default(),
                turn: AtomicUsize::new(0),
                changed: watch::Sender::new(()),
                readiness: watch::Sender::new(reason),
                metrics,
            }),
        }
    }

    /// Where the pool's readiness can be watched.
    pub(in crate::predictor) fn readiness(&self) -> &watch::Sender<Readiness> {
        &self.shared.readiness
    }

    /// Takes up new addresses and leaves those that are gone, where calls under way are still
    /// answered.
    pub(in crate::predictor) fn set_addresses(&self, addresses: &[Address]) {
        let shared = &self.shared;
        let mut slots = shared.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| {
            let stays = addresses.contains(&slot.member.address);
            if !stays && slot.member.number == 0 {
                tracing::info!(address = slot.member.label, "predictor address left");
            }
            stays
        });
        for address in addresses {
            if slots.iter().any(|slot| slot.member.address == *address) {
                continue;
            }
            for number in 0..shared.plan.connections.max(1) {
                let member = Arc::new(Member::new(address.clone(), number));
                let task = keep_up(Arc::clone(shared), Arc::clone(&member));
                let task = tokio::spawn(task);
                slots.push(Slot { member, task });
            }
        }
        drop(slots);
        shared.state_changed();
    }

    /// Says why there are no addresses, while there are none.
    pub(in crate::predictor) fn no_addresses(&self, reason: &str) {
        if self.shared.slots.read().is_ok_and(|slots| slots.is_empty()) {
            let reason = Readiness::NotReady(reason.to_owned());
            self.shared.readiness.send_if_modified(|readiness| {
                let changed = *readiness != reason;
                *readiness = reason;
                changed
            });
        }
    }

    /// The least busy connection that is up, at another address than the one to avoid if there is
    /// one. Waits for those that are just being opened.
    pub(in crate::predictor) async fn lease(&self, avoid: Option<&Avoid>) -> Result<Lease, Error> {
        let mut changed = self.shared.changed.subscribe();
        loop {
            match self.shared.choose(avoid) {
                Choice::Lease(lease) => return Ok(*lease),
                Choice::None(error) => return Err(error),
                Choice::Wait => {
                    let _ = changed.changed().await;
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The tasks hold `shared` and are held by it.
        let slots = self.shared.slots.write();
        slots.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

enum Choice {
    Lease(Box<Lease>),
    Wait,
    None(Error),
}

impl Shared {
    fn choose(self: &Arc<Self>, avoid: Option<&Avoid>) -> Choice {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut best: Option<((u8, usize), &Arc<Member>)> = None;
        let mut wait = false;
        let mut error = None;
        for i in 0..slots.len() {
            let member = &slots[(turn + i) % slots.len()].member;
            match &*member.state() {
                State::Opening => wait = true,
                State::Down(reason) => {
                    error.get_or_insert_with(|| member.error(reason));
                }
                State::Up { room, .. } => {
                    let in_flight = member.in_flight.load(Ordering::Relaxed);
                    if in_flight >= *room {
                        wait = true;
                        continue;
                    }
                    let rank = match avoid {
                        Some(avoid) if Arc::ptr_eq(&avoid.member, member) => 2,
                        Some(avoid) if avoid.member.address == member.address => 1,
                        _ => 0,
                    };
                    let key = (rank, in_flight);
                    if best.is_none_or(|(other, _)| key < other) {
                        best = Some((key, member));
                    }
                }
            }
        }
        match best {
            // It may have gone down since: then there is a change to wait for.
            Some((_, member)) => match Lease::of(self, member) {
                Some(lease) => Choice::Lease(Box::new(lease)),
                None => Choice::Wait,
            },
            None if wait => Choice::Wait,
            None => Choice::None(error.unwrap_or_else(|| Error::NotReady(self.why_not_ready()))),
        }
    }

    fn why_not_ready(&self) -> String {
        match &*self.readiness.borrow() {
            Readiness::NotReady(reason) => reason.clone(),
            Readiness::Ready { .. } => "its last address has just been left".to_owned(),
        }
    }

    /// Wakes those who wait for a connection and works out whether the whole is ready.
    pub(in crate::predictor) fn state_changed(&self) {
        self.readiness.send_if_modified(|readiness| {
            let Some(new) = self.whole() else {
                return false;
            };
            let changed = new != *readiness;
            let is_ready = matches!(new, Readiness::Ready { .. });
            self.metrics.predictor_ready.set(i64::from(is_ready));
            *readiness = new;
            changed
        });
        self.changed.send_replace(());
    }

    /// Ready with the smallest batch of those that are up. While nobody is, but one is being
    /// opened, nothing is new.
    fn whole(&self) -> Option<Readiness> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mut max_batch = None;
        let mut opening = false;
        let mut reason = None;
        for Slot { member, .. } in slots.iter() {
            match &*member.state() {
                State::Opening => opening = true,
                State::Up { terms, .. } => {
                    let least = max_batch.unwrap_or(usize::MAX).min(terms.max_batch);
                    max_batch = Some(least);
                }
                State::Down(down) => {
                    reason.get_or_insert_with(|| format!("{}: {}", member.label, down.text()));
                }
            }
        }
        match (max_batch, reason) {
            (Some(max_batch), _) => Some(Readiness::Ready { max_batch }),
            (None, Some(reason)) if !opening => Some(Readiness::NotReady(reason)),
            _ => None,
        }
    }
}
