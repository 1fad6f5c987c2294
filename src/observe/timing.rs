//! Where a request's time went, and how much it has left. The stage names here are those of the
//! metrics, of the `server-timing` header and of the log line.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A step in the handling of a request. Some are parts of others: `ByteWait` of `Read`; `Fetch`,
/// `PixelWait`, `Decode` and `Resize` of `Preprocess`; `PermitWait` of `Predict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the body from the connection.
    Read,
    /// Waiting for the body's bytes (`--max_bytes_in_flight`).
    ByteWait,
    /// The body to images or tensors.
    Parse,
    /// Waiting behind other requests to begin.
    QueueWait,
    /// Items to tensors: fetching, base64, decoding, resizing, normalising.
    Preprocess,
    /// Fetching items by URL or from a file.
    Fetch,
    /// Waiting for a pixel thread, added up over the images.
    PixelWait,
    /// Image bytes to pixels, added up over the images.
    Decode,
    /// Pixels to the tensor: resizing and normalising, added up over the images.
    Resize,
    /// Tensors to model outputs.
    Predict,
    /// Waiting for one of the `--concurrency` permits.
    PermitWait,
    /// Model outputs to rows.
    Postprocess,
}

impl Stage {
    /// All stages in the order in which a request passes them.
    pub const ALL: [Self; 12] = [
        Self::Read,
        Self::ByteWait,
        Self::Parse,
        Self::QueueWait,
        Self::Preprocess,
        Self::Fetch,
        Self::PixelWait,
        Self::Decode,
        Self::Resize,
        Self::Predict,
        Self::PermitWait,
        Self::Postprocess,
    ];

    /// The name in metrics, headers and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ByteWait => "byte_wait",
            Self::Parse => "parse",
            Self::QueueWait => "queue_wait",
            Self::Preprocess => "preprocess",
            Self::Fetch => "fetch",
            Self::PixelWait => "pixel_wait",
            Self::Decode => "decode",
            Self::Resize => "resize",
            Self::Predict => "predict",
            Self::PermitWait => "permit_wait",
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

    /// Adds to a stage what was measured elsewhere, such as on a pixel thread.
    pub fn add(&self, stage: Stage, duration: Duration) {
        *self.stages()[stage as usize].total.get_or_insert_default() += duration;
    }

    /// The durations of all stages that were left, by their place in [`Stage::ALL`].
    pub(crate) fn all(&self) -> [Option<Duration>; Stage::ALL.len()] {
        self.stages().map(|time| time.total)
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
        let mut text = String::with_capacity(256);
        for (stage, duration) in Stage::ALL.into_iter().zip(self.all()) {
            if let Some(duration) = duration {
                let _ = write!(text, "{};dur={:.3}, ", stage.name(), milliseconds(duration));
            }
        }
        let _ = write!(text, "total;dur={:.3}", milliseconds(self.total()));
        text
    }
}

/// As headers and log lines give durations.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
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
