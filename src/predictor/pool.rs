//! Several connections to several addresses: calls go to the one with the least in flight among
//! those that are up. A connection is up when it stands, has answered, and its predictor has the
//! right model; until then it is opened again and again in the background, so that no call has to
//! find out.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::contract::Terms;
use super::link::{Closed, Link};
use super::target::Address;
use super::{Error, Readiness, Signature};
use crate::metrics::Metrics;

/// Between two attempts to open a connection. A predictor that has become right is found within
/// two seconds: this, connecting, and asking.
const PAUSE: Duration = Duration::from_millis(500);
/// Before a connection that was lost soon after it was opened is opened again.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// Calls may wait so long for any answer before the predictor is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(1);
/// A sign of life, and what the predictor says about its model, must come within this time.
const PROBE: Duration = Duration::from_secs(2);

/// What the pool needs to know.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) signature: Signature,
    pub(super) connections: usize,
    pub(super) connect_timeout: Duration,
    pub(super) default_max_batch: usize,
}

/// The connections. Dropped, its tasks end; calls under way may still be answered.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    slots: RwLock<Vec<Slot>>,
    /// Where the search for the least busy begins, so that equals take turns.
    turn: AtomicUsize,
    /// Bumped when a connection's state changed, or a full one has room again.
    changed: watch::Sender<()>,
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

/// One connection, through all its losses.
#[derive(Debug)]
struct Member {
    address: Address,
    label: String,
    /// Which of the address's connections; the first one writes the log.
    number: usize,
    state: RwLock<State>,
    in_flight: AtomicUsize,
    begin: Instant,
    /// Milliseconds from `begin` to the last answer, or to the call that ended idleness.
    heard: AtomicU64,
    /// Calls race against it: it changes when the predictor was found silent.
    silenced: watch::Sender<()>,
    /// A call found the connection broken.
    suspected: Notify,
    /// An answer made it doubtful that the model is still the right one.
    doubted: Notify,
}

#[derive(Debug)]
enum State {
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
enum Reason {
    Unreachable(String),
    Misfit(String),
}

impl Reason {
    fn text(&self) -> &str {
        match self {
            Self::Unreachable(text) | Self::Misfit(text) => text,
        }
    }
}

/// A connection lent to one call.
#[derive(Debug)]
pub(super) struct Lease {
    shared: Arc<Shared>,
    member: Arc<Member>,
    epoch: u64,
    room: usize,
    silenced: watch::Receiver<()>,
    pub(super) link: Link,
    pub(super) terms: Terms,
}

/// The connection that a failed call had, to be avoided by its retry.
#[derive(Clone, Debug)]
pub(super) struct Avoid {
    member: Arc<Member>,
}

impl Pool {
    /// A pool without addresses. `metrics.predictor_ready` follows its readiness.
    pub(super) fn new(plan: Plan, metrics: Arc<Metrics>) -> Self {
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
    pub(super) fn readiness(&self) -> &watch::Sender<Readiness> {
        &self.shared.readiness
    }

    /// Takes up new addresses and leaves those that are gone, where calls under way are still
    /// answered.
    pub(super) fn set_addresses(&self, addresses: &[Address]) {
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
    pub(super) fn no_addresses(&self, reason: &str) {
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
    pub(super) async fn lease(&self, avoid: Option<&Avoid>) -> Result<Lease, Error> {
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
    fn state_changed(&self) {
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

impl Member {
    fn new(address: Address, number: usize) -> Self {
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

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, reason: &Reason) -> Error {
        match reason {
            Reason::Unreachable(text) => Error::Unreachable {
                address: self.label.clone(),
                reason: text.clone(),
            },
            Reason::Misfit(text) => Error::NotReady(format!("{}: {text}", self.label)),
        }
    }

    fn heard(&self) {
        let now = self.begin.elapsed().as_millis() as u64;
        self.heard.store(now, Ordering::Relaxed);
    }

    /// How long calls have waited for any answer.
    fn quiet(&self) -> Duration {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.begin.elapsed().saturating_sub(heard)
    }

    fn set(&self, shared: &Shared, state: State) {
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
                tracing::info!(%address, max_batch = terms.max_batch, "predictor ready");
            }
            _ => (),
        }
    }
}

impl Lease {
    /// Nothing when the member is not up.
    fn of(shared: &Arc<Shared>, member: &Arc<Member>) -> Option<Self> {
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
    pub(super) fn label(&self) -> &str {
        &self.member.label
    }

    /// The predictor has answered something.
    pub(super) fn heard(&self) {
        self.member.heard();
    }

    /// Ends when the predictor was found silent.
    pub(super) async fn silenced(&mut self) {
        if self.silenced.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The call found the connection broken: nobody else gets it until it has been looked at.
    pub(super) fn suspect(&self) {
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
    pub(super) fn doubt(&self) {
        self.member.doubted.notify_one();
    }

    /// What a retry is to avoid.
    pub(super) fn avoid(&self) -> Avoid {
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

/// How a connection ended.
enum End {
    /// It is to be opened again at once.
    Lost,
    /// It is of no use for now.
    Useless(Reason),
}

/// Opens a member's connection, watches over it, and opens it again, for as long as the pool lives.
async fn keep_up(shared: Arc<Shared>, member: Arc<Member>) {
    let mut epoch = 0;
    loop {
        let reason = match open(&shared.plan, &member.address).await {
            Ok((link, closed, terms)) => {
                epoch += 1;
                let begin = Instant::now();
                match watch_over(&shared, &member, link, closed, terms, epoch).await {
                    End::Lost => {
                        member.set(&shared, State::Opening);
                        if begin.elapsed() < PAUSE {
                            sleep(SHORT_PAUSE).await;
                        }
                        continue;
                    }
                    End::Useless(reason) => reason,
                }
            }
            Err(reason) => reason,
        };
        member.set(&shared, State::Down(reason));
        sleep(PAUSE).await;
    }
}

/// Connects and asks about the model. That is also the one call that goes before many on a new
/// HTTP/2 connection: before the peer's settings are known, more could exceed its stream limit.
async fn open(plan: &Plan, address: &Address) -> Result<(Link, Closed, Terms), Reason> {
    let opened = timeout(plan.connect_timeout, Link::open(address)).await;
    let (link, mut closed) = opened
        .map_err(|_| {
            Reason::Unreachable(format!(
                "no connection within {} ms",
                plan.connect_timeout.as_millis()
            ))
        })?
        .map_err(Reason::Unreachable)?;
    let asked = timeout(PROBE, link.terms(&plan.signature, plan.default_max_batch));
    let terms = tokio::select! {
        asked = asked => asked.map_err(|_| Reason::Unreachable(silence()))?.map_err(Reason::Misfit)?,
        reason = &mut closed => return Err(Reason::Unreachable(reason)),
    };
    Ok((link, closed, terms))
}

fn silence() -> String {
    format!("it does not answer within {} s", PROBE.as_secs())
}

async fn watch_over(
    shared: &Shared,
    member: &Member,
    link: Link,
    mut closed: Closed,
    mut terms: Terms,
    epoch: u64,
) -> End {
    loop {
        let room = link.max_calls().saturating_sub(1).max(1);
        let up = State::Up {
            link: link.clone(),
            terms,
            room,
            epoch,
        };
        member.set(shared, up);
        tokio::select! {
            reason = &mut closed => {
                tracing::debug!(address = member.label, reason, "connection lost");
                return End::Lost;
            }
            () = found_silent(member, &link) => {
                member.silenced.send_replace(());
                return End::Useless(Reason::Unreachable(silence()));
            }
            () = member.suspected.notified() => {
                // Perhaps one call was reset and the connection is well.
                let live = timeout(PROBE, link.live());
                let live = tokio::select! {
                    live = live => live.is_ok_and(|live| live.is_ok()),
                    _ = &mut closed => false,
                };
                if !live {
                    return End::Lost;
                }
            }
            () = member.doubted.notified() => {
                let plan = &shared.plan;
                let asked = timeout(PROBE, link.terms(&plan.signature, plan.default_max_batch));
                let asked = tokio::select! {
                    asked = asked => asked,
                    _ = &mut closed => return End::Lost,
                };
                match asked {
                    Ok(Ok(now)) => terms = now,
                    Ok(Err(reason)) => return End::Useless(Reason::Misfit(reason)),
                    Err(_) => return End::Lost,
                }
            }
        }
    }
}

/// Ends when calls wait and the predictor gives no sign of life either.
async fn found_silent(member: &Member, link: &Link) {
    loop {
        sleep(QUIET / 2).await;
        // A predictor with a stream limit of one has no room for the question.
        let full = member.in_flight.load(Ordering::Relaxed) >= link.max_calls();
        if member.quiet() < QUIET || full {
            continue;
        }
        match timeout(PROBE, link.live()).await {
            Ok(Ok(())) => member.heard(),
            // An error comes from a connection that is being closed.
            Ok(Err(_)) => (),
            Err(_) => return,
        }
    }
}
