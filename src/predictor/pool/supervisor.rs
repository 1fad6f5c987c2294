//! Keeps one connection of the pool ready. It is ready when it stands, has answered, and its
//! predictor has the right model; until then it is opened again and again in the background, so
//! that no call has to find out. While it is ready it is monitored: for its loss, for silence, and
//! for doubts that calls have.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::predictor::Signature;
use crate::predictor::address::Address;
use crate::predictor::pool::backoff::Backoff;
use crate::predictor::pool::connection::{PooledConnection, Ready, Reason, State};
use crate::predictor::signature::BatchLimits;
use crate::predictor::triton::{Closed, ConnectOptions, Connection};

/// What all connections of a pool have in common.
#[derive(Debug)]
pub(in crate::predictor) struct PoolSettings {
    /// What the predictor's model must be.
    pub(in crate::predictor) signature: Signature,
    /// Connections to each address.
    pub(in crate::predictor) connections: usize,
    /// Until a connection stands.
    pub(in crate::predictor) connect_timeout: Duration,
    /// Rows in one call where the predictor has no model configurations.
    pub(in crate::predictor) default_max_batch: usize,
    pub(in crate::predictor) options: ConnectOptions,
}

/// Before a connection that was lost soon after it was opened is opened again.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// A connection that stood for less was lost soon. Also between two questions about the model.
const PAUSE: Duration = Duration::from_millis(500);
/// How long calls may wait for any response before the predictor is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(1);
/// A sign of life, and what the predictor says about its model, must come within this time.
const PROBE: Duration = Duration::from_secs(2);

/// Opens a connection, monitors it, and opens it again, until the pool aborts it.
pub(in crate::predictor) async fn supervise(settings: &PoolSettings, pooled: &PooledConnection) {
    let mut generation = 0;
    let mut backoff = Backoff::new();
    loop {
        match open(settings, &pooled.address).await {
            Ok(opened) => {
                generation += 1;
                backoff = Backoff::new();
                let begin = Instant::now();
                let reason = monitor(settings, pooled, opened, generation).await;
                tracing::debug!(address = pooled.label, reason, "connection lost");
                // Whatever was wrong with it, a new one may do. If not, opening it says why.
                pooled.set(State::Connecting);
                if begin.elapsed() < PAUSE {
                    sleep(SHORT_PAUSE).await;
                }
            }
            Err(reason) => {
                pooled.health.forget_latency();
                pooled.set(State::Failed(reason));
                sleep(backoff.next()).await;
            }
        }
    }
}

/// A new connection, and what its predictor says of the model.
struct Opened {
    connection: Connection,
    closed: Closed,
    limits: BatchLimits,
}

/// Connects and asks about the model. That is also the one call that goes before many on a new
/// HTTP/2 connection: before the peer's settings are known, more could exceed its stream limit.
async fn open(settings: &PoolSettings, address: &Address) -> Result<Opened, Reason> {
    let opened = timeout(
        settings.connect_timeout,
        Connection::open(address, &settings.options),
    );
    let opened = opened.await.map_err(|_| {
        let time = settings.connect_timeout.as_millis();
        Reason::Unreachable(format!("no connection within {time} ms"))
    })?;
    let (connection, mut closed) = opened.map_err(Reason::Unreachable)?;
    let checked = timeout(PROBE, check_model(settings, &connection));
    let limits = tokio::select! {
        checked = checked => checked
            .map_err(|_| Reason::Unreachable(unresponsive()))?
            .map_err(Reason::ContractMismatch)?,
        reason = &mut closed => return Err(Reason::Unreachable(reason)),
    };
    Ok(Opened {
        connection,
        closed,
        limits,
    })
}

async fn check_model(
    settings: &PoolSettings,
    connection: &Connection,
) -> Result<BatchLimits, String> {
    connection
        .check_model(&settings.signature, settings.default_max_batch)
        .await
}

fn unresponsive() -> String {
    format!("it does not answer within {} s", PROBE.as_secs())
}

/// Keeps a connection ready for as long as it is, and says why it is not any more.
async fn monitor(
    settings: &PoolSettings,
    pooled: &PooledConnection,
    opened: Opened,
    generation: u64,
) -> String {
    let Opened {
        connection,
        mut closed,
        mut limits,
    } = opened;
    let max_in_flight = connection.max_calls().saturating_sub(1).max(1);
    let permits = Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)));
    let mut next_question = Instant::now();
    loop {
        pooled.set(State::Ready(Ready {
            connection: connection.clone(),
            limits,
            permits: Arc::clone(&permits),
            generation,
        }));
        let recheck_model = async {
            sleep_until(next_question).await;
            pooled.recheck_model().await;
        };
        tokio::select! {
            reason = &mut closed => return reason,
            () = detect_unresponsive(pooled, &connection) => {
                pooled.set_unresponsive();
                return unresponsive();
            }
            // Perhaps one call was reset and the connection is well.
            () = pooled.recheck_connection() => (),
            () = recheck_model => (),
        }
        let checked = tokio::select! {
            checked = timeout(PROBE, check_model(settings, &connection)) => checked,
            reason = &mut closed => return reason,
        };
        match checked {
            Ok(Ok(now)) => limits = now,
            Ok(Err(reason)) => return reason,
            Err(_) => {
                pooled.set_unresponsive();
                return unresponsive();
            }
        }
        next_question = Instant::now() + PAUSE;
    }
}

/// Ends when calls wait and the predictor gives no sign of life either.
async fn detect_unresponsive(pooled: &PooledConnection, connection: &Connection) {
    loop {
        sleep(QUIET / 2).await;
        // A predictor with a stream limit of one has no room for the question.
        if pooled.silent_for() < QUIET || connection.max_calls() <= 1 {
            continue;
        }
        match timeout(PROBE, connection.check_live()).await {
            Ok(Ok(())) => pooled.record_response(),
            // An error comes from a connection that is being closed.
            Ok(Err(_)) => (),
            Err(_) => return,
        }
    }
}
