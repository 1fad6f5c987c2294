//! Which addresses the pool has: the targets' own, looked up once, or again and again where they
//! are names.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::error_chain::error_chain;
use crate::predictor::address::{Address, Endpoint, Port, Target};
use crate::predictor::pool::Pool;

/// Between two lookups while there is no address at all.
const RETRY: Duration = Duration::from_secs(1);

/// Gives the pool its addresses. Ends when none of the targets is a name to look up again.
pub(super) async fn discover(
    pool: &Pool,
    targets: &[Target],
    resolver: &Resolver,
    refresh: Duration,
) {
    let is_dns = |target: &Target| matches!(target, Target::Dns { .. });
    let mut known: Vec<Vec<Address>> = vec![Vec::new(); targets.len()];
    loop {
        for (target, known) in targets.iter().zip(&mut known) {
            match addresses(target, resolver).await {
                Ok(found) if !found.is_empty() => *known = found,
                // A name server that fails for a while takes no predictor away.
                Ok(_) => pool.no_addresses(&format!("{target} has no address")),
                Err(error) => {
                    let text = error_chain(&error);
                    pool.no_addresses(&format!("cannot look up {target}: {text}"));
                }
            }
        }
        let mut addresses: Vec<Address> = Vec::new();
        for address in known.iter().flatten() {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let pause = if addresses.is_empty() {
            RETRY.min(refresh)
        } else {
            pool.set_addresses(&addresses);
            refresh
        };
        if !targets.iter().any(is_dns) {
            return;
        }
        sleep(pause).await;
    }
}

/// The addresses that a target stands for now.
async fn addresses(target: &Target, resolver: &Resolver) -> std::io::Result<Vec<Address>> {
    Ok(match target {
        Target::Host { host, port } => vec![Address {
            endpoint: Endpoint::Name(host.clone(), port.number()),
            host: host.clone(),
            port_given: matches!(port, Port::Given(_)),
        }],
        Target::Unix(path) => vec![Address {
            endpoint: Endpoint::Unix(path.clone()),
            host: "localhost".to_owned(),
            port_given: true,
        }],
        Target::Dns { name, port } => {
            let found = resolver.lookup(name, port.number()).await?;
            let address = |socket| Address {
                endpoint: Endpoint::Socket(socket),
                host: name.clone(),
                port_given: matches!(port, Port::Given(_)),
            };
            found.into_iter().map(address).collect()
        }
    })
}

type Lookup = Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>>;

/// How names are looked up.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(String, u16) -> Lookup + Send + Sync>);

impl Resolver {
    /// The system's.
    pub fn system() -> Self {
        Self::from_fn(|name, port| async move {
            Ok(tokio::net::lookup_host((name, port)).await?.collect())
        })
    }

    /// Another one: name and port to addresses.
    pub fn from_fn<F>(lookup: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name, port| Box::pin(lookup(name, port))))
    }

    /// The addresses of a name.
    pub(super) async fn lookup(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        (self.0)(name.to_owned(), port).await
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
