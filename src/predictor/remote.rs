//! A predictor behind a network: one call from tensor to tensor, with its one retry.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::context::RequestContext;
use crate::observe::metrics::Metrics;
use crate::predictor::address::Target;
use crate::predictor::discovery::{Resolver, discover};
use crate::predictor::pool::connection::Lease;
use crate::predictor::pool::{Pool, PoolSettings};
use crate::predictor::retry::{Budget, Failure, Retry};
use crate::predictor::triton::ConnectOptions;
use crate::predictor::triton::detect::Protocol;
use crate::predictor::triton::dial::{Tls, TlsSettings};
use crate::predictor::{Error, Readiness, Signature, response};
use crate::wire::tensor::Tensor;

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

/// A predictor and the tasks that keep it reachable.
#[derive(Debug)]
pub(super) struct Remote {
    pool: Arc<Pool>,
    budget: Budget,
    metrics: Arc<Metrics>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Remote {
    fn drop(&mut self) {
        // They hold the pool.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Remote {
    /// Starts to connect, on the current runtime.
    pub(super) fn start(
        settings: &RemoteSettings,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let pool_settings = PoolSettings {
            signature,
            connections: settings.connections,
            connect_timeout: settings.connect_timeout,
            default_max_batch: settings.default_max_batch,
            options: ConnectOptions {
                protocol: settings.protocol,
                tls: settings.tls.as_ref().map(Tls::load).transpose()?,
            },
        };
        let pool = Arc::new(Pool::new(pool_settings, Arc::clone(&metrics)));
        let report = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.report_readiness().await }
        });
        let discovery = tokio::spawn({
            let (pool, settings) = (Arc::clone(&pool), settings.clone());
            async move {
                let (targets, resolver) = (&settings.targets, &settings.resolver);
                discover(&pool, targets, resolver, settings.dns_refresh).await;
            }
        });
        Ok(Self {
            pool,
            budget: Budget::new(settings.concurrency),
            metrics,
            tasks: [report, discovery],
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
        self.budget.record_call();
        let rows = input.rows();
        let mut lease = self.pool.lease(None).await?;
        let (result, data) = self.attempt(&mut lease, signature, input, context).await;
        let failure = match result {
            Err(failure) if self.budget.try_spend(failure.retry) => failure,
            result => return result.map_err(|failure| failure.error),
        };
        let exclude = lease.exclude();
        drop(lease);
        let Ok(mut lease) = self.pool.lease(Some(&exclude)).await else {
            // What happened first says more than that there is no other connection.
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
    ) -> (Result<Tensor, Failure>, Bytes) {
        let mut outcome = Outcome {
            metrics: &self.metrics,
            name: "canceled",
        };
        let rows = input.rows();
        let limits = lease.limits();
        let connection = lease.connection().clone();
        let call = connection.encode(signature, limits, input, context);
        let values = call.values();
        let result = tokio::select! {
            result = connection.infer(signature, call, context) => result,
            () = lease.unresponsive() => {
                Err(Failure::lost(lease.label(), "it has stopped answering".to_owned()))
            }
        };
        let result = result.and_then(|response| {
            response::decode_output(signature, rows, limits.batch_axis, &response)
                .map_err(Failure::never)
        });
        outcome.name = match &result {
            Ok(_) => "ok",
            Err(failure) => failure.error.outcome(),
        };
        match &result {
            Err(failure) if failure.retry == Retry::Transport => lease.recheck_connection(),
            Err(failure) => {
                lease.record_response();
                if matches!(
                    failure.error,
                    Error::ErrorResponse { .. } | Error::InvalidResponse(_)
                ) {
                    lease.recheck_model();
                }
            }
            Ok(_) => lease.record_response(),
        }
        (result, values)
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
