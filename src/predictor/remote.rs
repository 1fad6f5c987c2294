//! A predictor over the network: the way of one call through the pool, and the addresses that the
//! pool is to have.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::pool::{Avoid, Lease, Plan, Pool};
use super::reply;
use super::retry::{Budget, Failure, Retry};
use super::target::{Address, Resolver, Target};
use super::{Call, Error, Readiness, Signature};
use crate::metrics::Metrics;
use crate::wire::tensor::{Message, Tensor};

/// An answer may be so much longer than its values: names, shapes, parameters.
const ANSWER_SLACK_BYTES: usize = 64 * 1024;
/// Before names that could not be looked up are looked up again.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// How a predictor is reached.
#[derive(Debug)]
pub struct RemoteSettings {
    /// `--predictor_host`
    pub targets: Vec<Target>,
    /// `--connections`, per address.
    pub connections: usize,
    /// `--concurrency`: calls in flight, and so the most that one dead predictor can fail at once.
    pub concurrency: usize,
    /// `--predictor_max_batch`, where the predictor does not tell.
    pub default_max_batch: usize,
    /// How long a connection may take to be opened.
    pub connect_timeout: Duration,
    /// `--dns_refresh_seconds`
    pub dns_refresh: Duration,
    /// How names are looked up.
    pub resolver: Resolver,
}

/// The pool, and who keeps its addresses right.
#[derive(Debug)]
pub(super) struct Remote {
    signature: Signature,
    pool: Arc<Pool>,
    budget: Budget,
    addresses: JoinHandle<()>,
}

impl Remote {
    pub(super) fn start(
        settings: RemoteSettings,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Self {
        let plan = Plan {
            signature: signature.clone(),
            connections: settings.connections,
            connect_timeout: settings.connect_timeout,
            default_max_batch: settings.default_max_batch,
        };
        let pool = Arc::new(Pool::new(plan, metrics));
        let budget = Budget::new(settings.concurrency);
        let addresses = tokio::spawn(follow(settings, Arc::clone(&pool)));
        Self {
            signature,
            pool,
            budget,
            addresses,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        self.pool.readiness().borrow().clone()
    }

    /// One call, and perhaps a second one elsewhere.
    pub(super) async fn infer(&self, input: Tensor, call: &Call) -> Result<Tensor, Error> {
        self.budget.called();
        let mut sending = Sending::Tensor(input);
        let mut avoid: Option<Avoid> = None;
        loop {
            let mut lease = self.pool.lease(avoid.as_ref()).await?;
            let message = sending.message(&lease, &self.signature, &call.id);
            let failure = match self.send(message, &mut lease, call, sending.rows()).await {
                Ok(output) => return Ok(output),
                Err(failure) => failure,
            };
            if avoid.is_some() || !self.budget.take(failure.retry) {
                return Err(failure.error);
            }
            tracing::debug!(error = %failure.error, "a call is sent once more");
            avoid = Some(lease.avoid());
        }
    }

    async fn send(
        &self,
        message: Message,
        lease: &mut Lease,
        call: &Call,
        rows: usize,
    ) -> Result<Tensor, Failure> {
        let width = self.signature.output_row.iter().product::<i64>() as usize;
        let limit = ANSWER_SLACK_BYTES + rows * width * size_of::<f32>();
        let (link, label) = (lease.link.clone(), lease.label().to_owned());
        let answer = tokio::select! {
            answer = link.infer(message, call, &label, limit) => answer,
            () = lease.silenced() => {
                return Err(Failure {
                    error: Error::Unreachable {
                        address: label,
                        reason: "it fell silent".to_owned(),
                    },
                    retry: Retry::Transport,
                });
            }
        };
        match answer {
            Ok(response) => {
                lease.heard();
                reply::output(&self.signature, rows, lease.terms.batch_axis, &response).map_err(
                    |error| {
                        lease.doubt();
                        Failure::never(error)
                    },
                )
            }
            Err(failure) => {
                match failure.error {
                    Error::Unreachable { .. } => lease.suspect(),
                    Error::Answered { .. } => {
                        lease.heard();
                        // Perhaps the model was taken away or replaced.
                        lease.doubt();
                    }
                    _ => lease.heard(),
                }
                Err(failure)
            }
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.addresses.abort();
    }
}

/// What a call sends: the tensor until it is known to whom, then the message made of it.
enum Sending {
    Tensor(Tensor),
    Message {
        message: Message,
        header: Vec<u8>,
        shape: Vec<i64>,
    },
}

impl Sending {
    fn shape(&self) -> &[i64] {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Message { shape, .. } => shape,
        }
    }

    fn rows(&self) -> usize {
        self.shape().first().map_or(0, |&rows| rows as usize)
    }

    /// The message for this lease. The memory is the same for a second one.
    fn message(&mut self, lease: &Lease, signature: &Signature, id: &str) -> Message {
        let shape = self.shape().to_vec();
        let asked = match lease.terms.batch_axis {
            true => shape.clone(),
            false => signature.input_row.clone(),
        };
        let values = shape.iter().product::<i64>() as usize * size_of::<f32>();
        let header = lease.link.header(signature, asked, id, values);
        let message = match std::mem::replace(self, Self::Tensor(Tensor::empty())) {
            Self::Tensor(tensor) => tensor.into_message(&header),
            Self::Message {
                message,
                header: before,
                ..
            } if before == header => message,
            Self::Message {
                message,
                header: before,
                ..
            } => message.with_header(before.len(), &header),
        };
        *self = Self::Message {
            message: message.clone(),
            header,
            shape,
        };
        message
    }
}

/// Looks the targets up, again and again where they are names that may change.
async fn follow(settings: RemoteSettings, pool: Arc<Pool>) {
    let changing = settings
        .targets
        .iter()
        .any(|target| matches!(target, Target::Dns { .. }));
    let mut known: Vec<Vec<Address>> = vec![Vec::new(); settings.targets.len()];
    loop {
        let mut pause = settings.dns_refresh;
        for (target, addresses) in settings.targets.iter().zip(&mut known) {
            match target.addresses(&settings.resolver).await {
                Ok(found) if !found.is_empty() => *addresses = found,
                // Those that are known stay: a name server that fails takes no predictor away.
                Ok(_) => {
                    pause = pause.min(LOOKUP_PAUSE);
                    pool.no_addresses(&format!("{target} has no addresses"));
                }
                Err(error) => {
                    pause = pause.min(LOOKUP_PAUSE);
                    tracing::debug!(%target, %error, "name not looked up");
                    pool.no_addresses(&format!("{target} cannot be looked up: {error}"));
                }
            }
        }
        let all = known.concat();
        if !all.is_empty() {
            pool.set_addresses(&all);
        }
        if !changing {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}
