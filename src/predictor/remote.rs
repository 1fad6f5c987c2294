//! A predictor behind a network: one call from tensor to tensor, with its one retry.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::context::RequestContext;
use crate::observe::metrics::Metrics;
use crate::predictor::address::{Address, Resolver, Target};
use crate::predictor::pool::connection::Lease;
use crate::predictor::pool::{Plan, Pool};
use crate::predictor::retry::{Budget, Failure, Retry};
use crate::predictor::triton::Access;
use crate::predictor::triton::detect::Protocol;
use crate::predictor::triton::dial::{Tls, TlsSettings, causes};
use crate::predictor::{Error, Readiness, Signature, response};
use crate::wire::tensor::Tensor;

/// What an answer may be longer than its tensor: names, parameters, typed contents.
const ANSWER_SLACK: usize = 64 * 1024;

/// How a predictor is reached.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// `--predictor_host`.
    pub targets: Vec<Target>,
    /// `--predictor_protocol`.
    pub protocol: Protocol,
    /// `--predictor_use_ssl`; nothing means plain text.
    pub tls: Option<TlsSettings>,
    /// `--connections` per address.
    pub connections: usize,
    /// `--concurrency`: calls in flight at most.
    pub concurrency: usize,
    /// `--predictor_max_batch`: rows in one call to a predictor that has no model configurations.
    pub default_max_batch: usize,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// `--dns_refresh_seconds`: how often the names of `dns:///` are looked up.
    pub dns_refresh: Duration,
    /// How they are looked up.
    pub resolver: Resolver,
}

impl RemoteSettings {
    /// Settings for these targets, all else as the command line's defaults.
    pub fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            protocol: Protocol::Auto,
            tls: None,
            connections: 1,
            concurrency: 100,
            default_max_batch: 32,
            connect_timeout: Duration::from_secs(1),
            dns_refresh: Duration::from_secs(10),
            resolver: Resolver::system(),
        }
    }
}

/// A predictor and the tasks that keep it reachable.
#[derive(Debug)]
pub(super) struct Remote {
    pool: Arc<Pool>,
    budget: Budget,
    metrics: Arc<Metrics>,
    addresses: JoinHandle<()>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.addresses.abort();
    }
}

impl Remote {
    /// Starts to connect, on the current runtime.
    pub(super) fn start(
        settings: &RemoteSettings,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let access = Access {
            protocol: settings.protocol,
            tls: settings.tls.as_ref().map(Tls::load).transpose()?,
        };
        let plan = Plan {
            signature,
            connections: settings.connections,
            connect_timeout: settings.connect_timeout,
            default_max_batch: settings.default_max_batch,
            access,
        };
        let pool = Arc::new(Pool::new(plan, Arc::clone(&metrics)));
        let follow = follow_addresses(Arc::clone(&pool), settings.clone());
        Ok(Self {
            pool,
            budget: Budget::new(settings.concurrency),
            metrics,
            addresses: tokio::spawn(follow),
        })
    }

    pub(super) fn readiness(&self) -> &watch::Sender<Readiness> {
        self.pool.readiness()
    }

    /// One call, sent once more on another connection if the first attempt came to nothing. Ends
    /// at the latest when the caller, who minds the deadline, drops it.
    pub(super) async fn infer(
        &self,
        signature: &Signature,
        input: Tensor,
        context: &RequestContext,
    ) -> Result<Tensor, Error> {
        self.budget.called();
        let rows = input.rows();
        let mut lease = self.pool.lease(None).await?;
        let (result, data) = self.attempt(&mut lease, signature, input, context).await;
        let failure = match result {
            Err(failure) if self.budget.take(failure.retry) => failure,
            result => return result.map_err(|failure| failure.error),
        };
        let avoid = lease.avoid();
        drop(lease);
        let Ok(mut lease) = self.pool.lease(Some(&avoid)).await else {
            // What happened first says more than that there is nobody else.
            return Err(failure.error);
        };
        let input = Tensor::shared(data, rows, &signature.input_row);
        let (result, _) = self.attempt(&mut lease, signature, input, context).await;
        result.map_err(|failure| failure.error)
    }

    /// Sends the tensor over one connection. Also gives back the tensor's values, which share
    /// their memory with what was sent.
    async fn attempt(
        &self,
        lease: &mut Lease,
        signature: &Signature,
        input: Tensor,
        context: &RequestContext,
    ) -> (Result<Tensor, Failure>, bytes::Bytes) {
        let mut outcome = Outcome {
            metrics: &self.metrics,
            name: "canceled",
        };
        let rows = input.rows();
        let shape = match lease.terms.batch_axis {
            true => input.shape().to_vec(),
            false => signature.input_row.clone(),
        };
        let header = lease
            .link
            .header(signature, &shape, &context.id, input.byte_len());
        let message = input.into_message(&header);
        let data = match message.tail.is_empty() {
            true => message.head.slice(header.len()..),
            false => message.tail.clone(),
        };
        let limit = ANSWER_SLACK + 8 * rows * signature.output_row.iter().product::<i64>() as usize;
        let link = lease.link.clone();
        let address = lease.label().to_owned();
        let result = tokio::select! {
            result = link.infer(signature, message, header.len(), context, limit) => result,
            () = lease.silenced() => Err(Failure {
                error: Error::Unreachable {
                    address: address.clone(),
                    reason: "it has stopped answering".to_owned(),
                },
                retry: Retry::Transport,
            }),
        };
        let result = result.and_then(|response| {
            response::output(signature, rows, lease.terms.batch_axis, &response)
                .map_err(Failure::never)
        });
        outcome.name = match &result {
            Ok(_) => "ok",
            Err(failure) => failure.error.outcome(),
        };
        match &result {
            Err(failure) if failure.retry == Retry::Transport => lease.suspect(),
            Err(failure) => {
                lease.heard();
                if matches!(
                    failure.error,
                    Error::ErrorResponse { .. } | Error::InvalidResponse(_)
                ) {
                    lease.doubt();
                }
            }
            Ok(_) => lease.heard(),
        }
        (result, data)
    }
}

/// Counts an attempt when it ends; one that is dropped counts as canceled.
struct Outcome<'a> {
    metrics: &'a Metrics,
    name: &'static str,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        self.metrics.calls.with_label_values(&[self.name]).inc();
    }
}

/// Gives the pool its addresses: once, or again and again where there are names to look up.
async fn follow_addresses(pool: Arc<Pool>, settings: RemoteSettings) {
    let is_dns = |target: &Target| matches!(target, Target::Dns { .. });
    let mut known: Vec<Vec<Address>> = vec![Vec::new(); settings.targets.len()];
    loop {
        let mut failed = false;
        for (target, known) in settings.targets.iter().zip(&mut known) {
            match target.addresses(&settings.resolver).await {
                Ok(found) if !found.is_empty() => *known = found,
                // A name server that fails for a while takes no predictor away.
                Ok(_) => {
                    failed = true;
                    pool.no_addresses(&format!("{target} has no address"));
                }
                Err(error) => {
                    failed = true;
                    let text = causes(&error);
                    pool.no_addresses(&format!("{target} cannot be looked up: {text}"));
                }
            }
        }
        let mut addresses = Vec::new();
        for address in known.iter().flatten() {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        if !addresses.is_empty() {
            pool.set_addresses(&addresses);
        }
        if !settings.targets.iter().any(is_dns) {
            return;
        }
        let pause = match failed && addresses.is_empty() {
            true => Duration::from_secs(1).min(settings.dns_refresh),
            false => settings.dns_refresh,
        };
        sleep(pause).await;
    }
}
