//! How the host names of items are resolved: a bounded number at once, and only to addresses that may
//! be connected to.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::allow::{AllowRule, is_allowed_address, is_allowed_host};
use super::blocked::{Blocked, truncated};

/// Names that are looked up at once. A look-up occupies a thread of the pool that all look-ups and
/// file reads share, the predictor's too, until the name server responds.
const MAX_LOOKUPS: usize = 16;

/// Resolves names to those of their addresses that may be connected to.
pub(super) struct FilteringResolver {
    pub(super) names: Arc<dyn Resolve>,
    pub(super) allow: Arc<[AllowRule]>,
}

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let addresses = self.names.resolve(name);
        if is_allowed_host(&host, &self.allow) {
            return addresses;
        }
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            let mut allowed = addresses
                .await?
                .filter(move |address| is_allowed_address(address.ip(), &allow))
                .peekable();
            if allowed.peek().is_none() {
                return Err(Blocked::NotPublic(truncated(&host)).into());
            }
            Ok(Box::new(allowed) as Addrs)
        })
    }
}

/// Names as the operating system resolves them, a bounded number at once.
pub(super) struct SystemNames<L> {
    lookup: L,
    permits: Arc<Semaphore>,
}

impl<L> SystemNames<L> {
    pub(super) fn new(lookup: L) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Self { lookup, permits }
    }
}

impl<L, F, A> Resolve for SystemNames<L>
where
    L: Fn((String, u16)) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = std::io::Result<A>> + Send + 'static,
    A: Iterator<Item = SocketAddr> + Send + 'static,
{
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, permits) = (self.lookup.clone(), Arc::clone(&self.permits));
        Box::pin(async move {
            let permit = permits.acquire_owned().await?;
            // In a task of its own: the thread stays occupied when the caller has given up, and the
            // permit with it. Port 0: the client puts the URL's in its place.
            let lookup = tokio::spawn(async move {
                let addresses = lookup((name.as_str().to_owned(), 0)).await;
                drop(permit);
                addresses
            });
            Ok(Box::new(lookup.await??) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn look_ups_are_bounded_even_when_their_callers_have_gone() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        let running = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&running);
        let names = SystemNames::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<std::io::Result<std::vec::IntoIter<SocketAddr>>>()
        });
        for _ in 0..3 * MAX_LOOKUPS {
            let lookup = names.resolve("slow.test".parse().unwrap());
            assert!(timeout(Duration::from_secs(1), lookup).await.is_err());
        }
        assert_eq!(running.load(Ordering::Relaxed), MAX_LOOKUPS);
    }
}
