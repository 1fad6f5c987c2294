//! A predictor behind a network: one call from tensor to tensor, with its one retry.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::context::RequestContext;
use crate::observe::metrics::{PredictorMetrics, Replicas};
use crate::observe::spans::Span;
use crate::predictor::address::Target;
use crate::predictor::discovery::{Resolver, discover};
use crate::predictor::headers::{PredictorHeader, PredictorHeaders};
use crate::predictor::outcome::OutcomeGuard;
use crate::predictor::pool::connection::{Exclude, Lease};
use crate::predictor::pool::{Pool, PoolSettings};
use crate::predictor::retry::{Budget, Cause, Failure};
use crate::predictor::span::Call;
use crate::predictor::triton::ConnectOptions;
use crate::predictor::triton::detect::Protocol;
use crate::predictor::triton::dial::Dialer;
use crate::predictor::triton::tls::{Tls, TlsSettings};
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
    /// `--predictor_header`: sent with every call.
    pub headers: Vec<PredictorHeader>,
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
    budget: Arc<Budget>,
    /// Calls that were sent once more, by what had failed.
    retries: Vec<(Cause, Counter)>,
    metrics: PredictorMetrics,
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
        metrics: PredictorMetrics,
    ) -> Result<Self, String> {
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        let pool_settings = PoolSettings {
            signature,
            connections: settings.connections,
            connect_timeout: settings.connect_timeout,
            default_max_batch: settings.default_max_batch,
            options: ConnectOptions {
                protocol: settings.protocol,
                dialer: Dialer {
                    resolver: settings.resolver.clone(),
                    tls: tls.map(Arc::new),
                },
                headers: PredictorHeaders::load(&settings.headers)?,
            },
        };
        let pool = Arc::new(Pool::new(pool_settings, metrics.clone()));
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
        let budget = Arc::new(Budget::new(settings.concurrency));
        let (shown, left) = (Arc::downgrade(&pool), Arc::clone(&budget));
        metrics.show_replicas(move || {
            Some(Replicas {
                replicas: shown.upgrade()?.replicas(),
                retry_budget: left.left().to_vec(),
            })
        });
        let retries = Cause::RETRIED.map(|(cause, name)| (cause, metrics.retries(name)));
        Ok(Self {
            pool,
            budget,
            retries: retries.to_vec(),
            metrics,
            tasks: [report, discovery],
        })
    }

    pub(super) fn readiness(&self) -> &watch::Sender<Readiness> {
        self.pool.readiness()
    }

    /// One call, sent once more if the first attempt came to nothing and another one may do better.
    /// Ends at the latest when the caller, who minds the deadline, drops it.
    pub(super) async fn infer(
        &self,
        signature: &Signature,
        inputs: Vec<Tensor>,
        context: &RequestContext,
    ) -> Result<Vec<Tensor>, Error> {
        self.budget.record_call();
        let lease = self.lease(None, context).await?;
        let mut call = Call {
            model: &signature.model,
            rows: inputs.first().map_or(0, Tensor::rows),
            attempt: 1,
        };
        let (result, inputs) = self
            .attempt(&lease, signature, inputs, &call, context)
            .await;
        let Err(failure) = result else {
            return result.map_err(|failure| failure.error);
        };
        let exclude = lease.exclude();
        let other_address = self.pool.has_other_address(&exclude);
        let fund = failure.cause.fund(other_address);
        drop(lease);
        if !fund.is_some_and(|fund| self.budget.try_spend(fund)) {
            return Err(failure.error);
        }
        let Ok(lease) = self.lease(Some(&exclude), context).await else {
            // What happened first says more than that there is no other connection.
            return Err(failure.error);
        };
        let cause = failure.cause;
        if let Some((_, retries)) = self.retries.iter().find(|(retried, _)| *retried == cause) {
            retries.inc();
        }
        call.attempt = 2;
        let (result, _) = self
            .attempt(&lease, signature, inputs, &call, context)
            .await;
        result.map_err(|failure| failure.error)
    }

    async fn lease(
        &self,
        exclude: Option<&Exclude>,
        context: &RequestContext,
    ) -> Result<Lease, Error> {
        let mut outcome = OutcomeGuard::new(&self.metrics, context.deadline, "no_connection");
        match self.pool.lease(exclude).await {
            Ok(lease) => {
                outcome.disarm();
                Ok(lease)
            }
            Err(error) => {
                outcome.set(error.outcome());
                Err(error)
            }
        }
    }

    /// Sends the tensors over one connection. Also gives them back; they share their memory with
    /// what was sent.
    async fn attempt(
        &self,
        lease: &Lease,
        signature: &Signature,
        inputs: Vec<Tensor>,
        call: &Call<'_>,
        context: &RequestContext,
    ) -> (Result<Vec<Tensor>, Failure>, Vec<Tensor>) {
        let connection = lease.connection();
        let span = call.remote(context, connection, lease.label());
        let traceparent = span.as_ref().and_then(Span::traceparent);
        let mut attempt = Attempt {
            lease,
            context,
            outcome: OutcomeGuard::new(&self.metrics, context.deadline, "deadline").traced(span),
            ended: false,
        };
        let limits = lease.limits();
        let datatypes = inputs.iter().map(Tensor::datatype);
        if !datatypes.eq(limits.inputs.iter().copied()) {
            // While the model is being replaced, its replicas may differ.
            let result = Err(Failure::other_datatypes(&limits.inputs));
            attempt.end(&result);
            return (result, inputs);
        }
        let (mut message, inputs) = connection.encode(signature, limits, inputs, context);
        message.set_traceparent(traceparent);
        let result = tokio::select! {
            result = connection.infer(signature, message, context) => result,
            () = lease.unresponsive() => {
                Err(Failure::lost("it has stopped answering".to_owned()))
            }
        };
        let result = result.and_then(|response| {
            response::decode_outputs(signature, call.rows, limits.batch_axis, &response)
        });
        attempt.end(&result);
        (result, inputs)
    }
}

/// One call on one connection, whose end is told to the metrics and to the replica's health.
struct Attempt<'a> {
    lease: &'a Lease,
    context: &'a RequestContext,
    outcome: OutcomeGuard<'a>,
    ended: bool,
}

impl Attempt<'_> {
    fn end(&mut self, result: &Result<Vec<Tensor>, Failure>) {
        self.ended = true;
        let failure = match result {
            Ok(_) => {
                self.outcome.set("ok");
                return self.lease.record_success();
            }
            Err(failure) => failure,
        };
        self.outcome.set(failure.error.outcome());
        // Callers are not told where the predictor is.
        tracing::debug!(
            address = self.lease.label(),
            error = %failure.error,
            "call to the predictor failed"
        );
        match failure.cause {
            Cause::Lost => self.lease.recheck_connection(),
            Cause::QueueFull | Cause::Refused => self.lease.record_refusal(),
            Cause::TimedOut => self.lease.record_timeout(),
            Cause::StreamReset | Cause::Unavailable | Cause::NotFound | Cause::Failed => {
                self.lease.record_failure();
            }
            Cause::Internal => (),
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.ended && self.context.deadline.remaining().is_zero() {
            self.lease.record_timeout();
        }
    }
}
