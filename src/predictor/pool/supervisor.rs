//! Keeps one connection of the pool up. It is up when it stands, has answered, and its predictor
//! has the right model; until then it is opened again and again in the background, so that no call
//! has to find out. While it is up it is watched: for its loss, for silence, and for doubts that
//! calls have.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::predictor::address::Address;
use crate::predictor::pool::connection::{Member, Reason, State};
use crate::predictor::pool::{Plan, Shared};
use crate::predictor::signature::Terms;
use crate::predictor::triton::{Closed, Link};

/// Between two attempts to open a connection. A predictor that has become right is found within
/// two seconds: this, connecting, and asking.
const PAUSE: Duration = Duration::from_millis(500);
/// Before a connection that was lost soon after it was opened is opened again.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// Calls may wait so long for any answer before the predictor is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(1);
/// A sign of life, and what the predictor says about its model, must come within this time.
const PROBE: Duration = Duration::from_secs(2);

/// How a connection ended.
enum End {
    /// It is to be opened again at once.
    Lost,
    /// It is of no use for now.
    Useless(Reason),
}

/// Opens a member's connection, watches over it, and opens it again, for as long as the pool lives.
pub(in crate::predictor) async fn keep_up(shared: Arc<Shared>, member: Arc<Member>) {
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
    let opened = timeout(plan.connect_timeout, Link::open(address, &plan.access)).await;
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
    let mut next_question = Instant::now();
    loop {
        let room = link.max_calls().saturating_sub(1).max(1);
        let up = State::Up {
            link: link.clone(),
            terms,
            room,
            epoch,
        };
        member.set(shared, up);
        let doubted = async {
            sleep_until(next_question).await;
            member.doubted.notified().await;
        };
        tokio::select! {
            reason = &mut closed => {
                tracing::debug!(address = member.label, reason, "connection lost");
                return End::Lost;
            }
            () = found_silent(member, &link) => {
                member.silenced.send_replace(());
                return End::Useless(Reason::Unreachable(silence()));
            }
            // Perhaps one call was reset and the connection is well.
            () = member.suspected.notified() => (),
            () = doubted => (),
        }
        let plan = &shared.plan;
        let asked = timeout(PROBE, link.terms(&plan.signature, plan.default_max_batch));
        let asked = tokio::select! {
            asked = asked => asked,
            _ = &mut closed => return End::Lost,
        };
        match asked {
            Ok(Ok(now)) => terms = now,
            // Opening it again finds out what to say.
            Ok(Err(_)) => return End::Lost,
            Err(_) => {
                member.silenced.send_replace(());
                return End::Useless(Reason::Unreachable(silence()));
            }
        }
        next_question = Instant::now() + PAUSE;
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
