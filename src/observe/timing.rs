//! Where a request's time went, and how much it has left. The stage names here are those of the
//! metrics and of the `server-timing` header.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A step in the handling of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the body from the connection.
    Read,
    /// JSON to item texts.
    Parse,
    /// Items to tensors: fetching, base64, decoding, resizing, normalising.
    Preprocess,
    /// Waiting for one of the `--concurrency` permits; a part of `Predict`.
    Permit,
    /// Tensors to model outputs.
    Predict,
    /// Model outputs to rows.
    Postprocess,
}

impl Stage {
    /// All stages in the order in which a request passes them.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Parse,
        Self::Preprocess,
        Self::Permit,
        Self::Predict,
        Self::Postprocess,
    ];

    /// The name in metrics and headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Parse => "parse",
            Self::Preprocess => "preprocess",
            Self::Permit => "permit",
            Self::Predict => "predict",
            Self::Postprocess => "postprocess",
        }
    }
}

/// The durations of one request's stages. Shared by the parts of the request that run
/// concurrently: of several durations of one stage, the longest counts.
#[derive(Debug)]
pub struct Timings {
    begin: Instant,
    nanoseconds: [AtomicU64; Stage::ALL.len()],
}

impl Timings {
    /// Starts the clock of the total.
    pub fn start() -> Self {
        Self {
            begin: Instant::now(),
            nanoseconds: Default::default(),
        }
    }

    /// Measures a stage until the returned timer is dropped.
    pub fn stage(&self, stage: Stage) -> StageTimer<'_> {
        StageTimer {
            timings: self,
            stage,
            begin: Instant::now(),
        }
    }

    /// The duration of a stage, if it was entered.
    pub fn get(&self, stage: Stage) -> Option<Duration> {
        let nanoseconds = self.nanoseconds[stage as usize].load(Ordering::Relaxed);
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    /// Time since the start.
    pub fn total(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The value of a `server-timing` header, in milliseconds.
    pub fn header(&self) -> String {
        let mut text = String::with_capacity(160);
        for stage in Stage::ALL {
            if let Some(duration) = self.get(stage) {
                let _ = write!(text, "{};dur={:.3}, ", stage.name(), milliseconds(duration));
            }
        }
        let _ = write!(text, "total;dur={:.3}", milliseconds(self.total()));
        text
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Records a stage's duration when it is dropped.
#[derive(Debug)]
pub struct StageTimer<'a> {
    timings: &'a Timings,
    stage: Stage,
    begin: Instant,
}

impl Drop for StageTimer<'_> {
    fn drop(&mut self) {
        // At least one: 0 means that the stage was not entered.
        let nanoseconds = (self.begin.elapsed().as_nanos() as u64).max(1);
        self.timings.nanoseconds[self.stage as usize].fetch_max(nanoseconds, Ordering::Relaxed);
    }
}

/// The moment at which a request's time is up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// That long from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_stages_that_were_entered() {
        let timings = Timings::start();
        drop(timings.stage(Stage::Predict));
        drop(timings.stage(Stage::Parse));
        let header = timings.header();
        let names: Vec<_> = header
            .split(", ")
            .filter_map(|part| part.split(';').next())
            .collect();
        assert_eq!(names, ["parse", "predict", "total"]);
    }
}
