//! One request after the other: the next of the workload is sent on a connection, its response
//! verified, and what came of it recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::give_up::GiveUp;
use crate::loadtest::measure::record::{Recorder, Sample};
use crate::loadtest::measure::scrape;
use crate::loadtest::target::{Connection, Target};
use crate::loadtest::verify::Verifier;
use crate::loadtest::workload::Workload;

/// The pause after a connection that could not be opened. Without it a target that is away would be
/// tried a hundred thousand times a second.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// What the connections of a run share.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) target: Arc<Target>,
    pub(crate) workload: Arc<Workload>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) give_up: Arc<GiveUp>,
    pub(crate) timeout: Duration,
    /// The number of the next request of the workload.
    pub(crate) next: AtomicUsize,
}

impl Dispatcher {
    /// Sends the next request, at the moment `sent`, and records what came of it. Whether there is
    /// a point in sending another one.
    pub(crate) async fn send_next(
        &self,
        connection: &mut Connection,
        intended: Instant,
        sent: Instant,
    ) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.workload.requests.len();
        let request = &self.workload.requests[number];
        let late = sent - intended;
        let (outcome, stages) = if late >= self.timeout {
            let text = format!("waited {} s for a connection", late.as_secs_f64());
            (Err(Failure::new(FailureKind::NeverSent, text)), Vec::new())
        } else {
            match connection.send(request).await {
                Ok(response) => (
                    self.verifier.verify(&self.workload, number, &response),
                    scrape::server_timing(&response.headers),
                ),
                Err(failure) => (Err(failure), Vec::new()),
            }
        };
        let unconnected = matches!(&outcome, Err(failure) if failure.kind == FailureKind::Connect);
        let given_up = self.give_up.record(&outcome);
        self.recorder.record(Sample {
            intended,
            sent,
            done: Instant::now(),
            outcome,
            images: request.images.len(),
            stages,
        });
        if unconnected {
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
        !given_up
    }
}
