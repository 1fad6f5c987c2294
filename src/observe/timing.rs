//! Where a request's time went, and how much it has left. The stage names here are those of the
//! metrics and of the `server-timing` header.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// The durations of one request's stages. Shared by the parts of the request that run concurrently:
/// a stage counts from when the first of them enters it until the last has left, and adds up when it
/// is entered again.
#[derive(Debug)]
pub struct Timings {
    begin: Instant,
    stages: Mutex<[StageTime; Stage::ALL.len()]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct StageTime {
    /// Since when it runs, and in how many parts.
    running: Option<(Instant, u32)>,
    /// Nothing before it was left for the first time.
    total: Option<Duration>,
}

impl Timings {
    /// Starts the clock of the total.
    pub fn start() -> Self {
        Self {
            begin: Instant::now(),
            stages: Mutex::default(),
        }
    }

    fn stages(&self) -> MutexGuard<'_, [StageTime; Stage::ALL.len()]> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures a stage until the returned timer is dropped.
    pub fn stage(&self, stage: Stage) -> StageTimer<'_> {
        let now = Instant::now();
        let time = &mut self.stages()[stage as usize];
        let (begin, parts) = time.running.unwrap_or((now, 0));
        time.running = Some((begin, parts + 1));
        StageTimer {
            timings: self,
            stage,
        }
    }

    /// The duration of a stage, if it was left.
    pub fn get(&self, stage: Stage) -> Option<Duration> {
        self.stages()[stage as usize].total
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

/// Leaves a stage when it is dropped.
#[derive(Debug)]
pub struct StageTimer<'a> {
    timings: &'a Timings,
    stage: Stage,
}

impl Drop for StageTimer<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let time = &mut self.timings.stages()[self.stage as usize];
        let Some((begin, parts)) = time.running else {
            return;
        };
        time.running = (parts > 1).then_some((begin, parts - 1));
        if time.running.is_none() {
            *time.total.get_or_insert_default() += now.saturating_duration_since(begin);
        }
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

    #[test]
    fn parts_side_by_side_count_once_and_one_after_the_other_add_up() {
        let timings = Timings::start();
        let pause = Duration::from_millis(5);
        let measure = |stage| timings.get(stage).unwrap_or_default();
        let (first, second) = (timings.stage(Stage::Predict), timings.stage(Stage::Predict));
        std::thread::sleep(pause);
        drop(first);
        assert_eq!(measure(Stage::Predict), Duration::ZERO);
        drop(second);
        let once = measure(Stage::Predict);
        assert!(once >= pause && once <= timings.total(), "{once:?}");
        let again = timings.stage(Stage::Predict);
        std::thread::sleep(pause);
        drop(again);
        assert!(measure(Stage::Predict) >= once + pause);
    }
}
