//! Amounts of something bounded, granted first come, first served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What is granted beside what is taken already.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grants {
    /// An amount that fits as a whole, and any amount when nothing is taken.
    Whole,
    /// Any amount as long as the limit is not reached.
    UntilFull,
}

/// An amount that many share.
///
/// It is not tokio's semaphore, which cannot go beyond its limit as [`Self::take`] and
/// [`Grants::UntilFull`] do; those who come later wait until the debt is paid.
#[derive(Debug)]
pub(crate) struct FairBudget {
    limit: usize,
    grants: Grants,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    amount: usize,
    granted: oneshot::Sender<FairPermit>,
}

impl FairBudget {
    pub(crate) fn new(limit: usize, grants: Grants) -> Arc<Self> {
        Arc::new(Self {
            limit,
            grants,
            state: Mutex::default(),
        })
    }

    /// What is taken now.
    pub(crate) fn taken(&self) -> usize {
        self.lock().taken
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits for an amount. Dropped, it waits no longer.
    pub(crate) async fn acquire(self: &Arc<Self>, amount: usize) -> FairPermit {
        let waiter = {
            let mut state = self.lock();
            if self.is_free(&state, amount) {
                return self.grant(&mut state, amount);
            }
            let (granted, waiter) = oneshot::channel();
            state.waiters.push_back(Waiter { amount, granted });
            waiter
        };
        match waiter.await {
            Ok(permit) => permit,
            // The sender is dropped only with the budget itself, which is ours.
            Err(_) => self.take(amount),
        }
    }

    /// Takes an amount at once or not at all.
    pub(crate) fn try_acquire(self: &Arc<Self>, amount: usize) -> Option<FairPermit> {
        let mut state = self.lock();
        self.is_free(&state, amount)
            .then(|| self.grant(&mut state, amount))
    }

    /// Takes an amount, beyond the limit if need be.
    pub(crate) fn take(self: &Arc<Self>, amount: usize) -> FairPermit {
        self.grant(&mut self.lock(), amount)
    }

    /// Whether one that came now would have to wait for the least amount.
    pub(crate) fn is_full(&self) -> bool {
        !self.is_free(&self.lock(), 1)
    }

    fn is_free(&self, state: &State, amount: usize) -> bool {
        state.waiters.is_empty() && self.fits(state.taken, amount)
    }

    fn fits(&self, taken: usize, amount: usize) -> bool {
        match self.grants {
            Grants::Whole => taken == 0 || taken.saturating_add(amount) <= self.limit,
            Grants::UntilFull => taken < self.limit,
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, amount: usize) -> FairPermit {
        state.taken += amount;
        FairPermit {
            budget: Arc::clone(self),
            amount,
        }
    }

    /// Gives an amount back, and grants the first waiters theirs as far as they fit now.
    fn release(self: &Arc<Self>, amount: usize) {
        let mut granted = Vec::new();
        let mut state = self.lock();
        debug_assert!(state.taken >= amount, "more is given back than was taken");
        state.taken -= amount;
        while let Some(waiter) = state.waiters.pop_front() {
            if waiter.granted.is_closed() {
                continue;
            }
            if !self.fits(state.taken, waiter.amount) {
                state.waiters.push_front(waiter);
                break;
            }
            let permit = self.grant(&mut state, waiter.amount);
            granted.push((waiter.granted, permit));
        }
        drop(state);
        // Outside the lock: a waiter that has just left drops what it was granted, which locks again.
        for (waiter, permit) in granted {
            let _ = waiter.send(permit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An amount that is taken; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct FairPermit {
    budget: Arc<FairBudget>,
    amount: usize,
}

impl FairPermit {
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }

    /// Gives back all but `amount`.
    pub(crate) fn shrink_to(&mut self, amount: usize) {
        let unused = self.amount.saturating_sub(amount);
        self.amount -= unused;
        self.budget.release(unused);
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        self.budget.release(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_small_amount_does_not_overtake_and_a_waiter_that_left_is_passed_over() {
        let budget = FairBudget::new(1000, Grants::Whole);
        let most = budget.acquire(900).await;
        let mut large = Box::pin(budget.acquire(800));
        let mut left = Box::pin(budget.acquire(700));
        let mut small = Box::pin(budget.acquire(50));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(left.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none());
        drop(left);
        drop(most);
        let _large = large.await;
        let _small = small.await;
    }

    #[tokio::test]
    async fn a_debt_is_paid_before_others_are_granted() {
        let budget = FairBudget::new(1000, Grants::Whole);
        let first = budget.acquire(900).await;
        let debt = budget.take(5000);
        drop(first);
        let mut later = Box::pin(budget.acquire(1));
        assert!(later.as_mut().now_or_never().is_none());
        drop(debt);
        let _later = later.await;
        assert!(budget.try_acquire(1000).is_none());
        assert!(budget.try_acquire(999).is_some());
    }

    #[tokio::test]
    async fn until_it_is_full_any_amount_is_granted() {
        let budget = FairBudget::new(2, Grants::UntilFull);
        let one = budget.acquire(1).await;
        let many = budget.acquire(100).await;
        assert!(budget.is_full());
        drop(one);
        assert!(budget.try_acquire(1).is_none());
        drop(many);
        assert!(!budget.is_full());
    }

    #[tokio::test]
    async fn what_is_not_needed_goes_to_the_next_waiter() {
        let budget = FairBudget::new(1000, Grants::Whole);
        let mut ahead = budget.acquire(1000).await;
        let mut next = Box::pin(budget.acquire(600));
        assert!(next.as_mut().now_or_never().is_none());
        ahead.shrink_to(400);
        assert_eq!(next.await.amount(), 600);
    }
}
