//! Where a request's time went, and how much it has left. The stage names here are those of the
//! metrics, of the `server-timing` header and of the log line.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::spans::Span;

/// Spans of one stage of a request, at most: a stage that is entered again for each of many calls would
/// bury the others.
const MAX_SPANS: u32 = 32;

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

    /// The stage that it is a part of.
    fn part_of(self) -> Option<Self> {
        match self {
            Self::ByteWait => Some(Self::Read),
            Self::Fetch | Self::PixelWait | Self::Decode | Self::Resize => Some(Self::Preprocess),
            Self::PermitWait => Some(Self::Predict),
            Self::Read
            | Self::Parse
            | Self::QueueWait
            | Self::Preprocess
            | Self::Predict
            | Self::Postprocess => None,
        }
    }

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
    /// The request's span, if it is recorded: each time that a stage runs is a span below it.
    span: Option<Span>,
}

#[derive(Clone, Debug, Default)]
struct StageTime {
    running: Option<Running>,
    /// Nothing before it was left for the first time.
    total: Option<Duration>,
    spans: u32,
}

/// A stage that was entered and not left.
#[derive(Clone, Debug)]
struct Running {
    begin: Instant,
    parts: u32,
    span: Option<Span>,
}

impl Timings {
    /// Starts the clock of the total.
    pub fn start() -> Self {
        Self {
            begin: Instant::now(),
            stages: Mutex::default(),
            span: None,
        }
    }

    /// The same clock, whose stages are spans below that of the request.
    pub(crate) fn traced(&self, span: &Span) -> Self {
        Self {
            begin: self.begin,
            stages: Mutex::default(),
            span: span.is_recording().then(|| span.clone()),
        }
    }

    /// When the clock of the total was started.
    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    fn stages(&self) -> MutexGuard<'_, [StageTime; Stage::ALL.len()]> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures a stage until the returned timer is dropped.
    pub fn stage(&self, stage: Stage) -> StageTimer<'_> {
        let now = Instant::now();
        let mut stages = self.stages();
        if let Some(running) = &mut stages[stage as usize].running {
            running.parts += 1;
        } else {
            let span = self.begin_span(&mut stages, stage, now);
            stages[stage as usize].running = Some(Running {
                begin: now,
                parts: 1,
                span,
            });
        }
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
        self.stages().each_ref().map(|time| time.total)
    }

    /// The durations of those that were only added up and so have no spans.
    pub(crate) fn without_spans(&self) -> Vec<(Stage, Duration)> {
        let stages = self.stages();
        let of_stage = |stage: Stage| {
            let time = &stages[stage as usize];
            Some((stage, time.total.filter(|_| time.spans == 0)?))
        };
        Stage::ALL.into_iter().filter_map(of_stage).collect()
    }

    fn begin_span(
        &self,
        stages: &mut [StageTime; Stage::ALL.len()],
        stage: Stage,
        now: Instant,
    ) -> Option<Span> {
        let request = self.span.as_ref()?;
        let spans = &mut stages[stage as usize].spans;
        *spans += 1;
        if *spans > MAX_SPANS {
            return None;
        }
        let whole = stage.part_of();
        let whole = whole.and_then(|whole| stages[whole as usize].running.as_ref()?.span.as_ref());
        Some(whole.unwrap_or(request).internal(stage.name(), now))
    }

    /// The span of a stage that runs.
    pub(crate) fn span(&self, stage: Stage) -> Option<Span> {
        self.stages()[stage as usize].running.as_ref()?.span.clone()
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
        let Some(running) = &mut time.running else {
            return;
        };
        running.parts -= 1;
        if running.parts > 0 {
            return;
        }
        *time.total.get_or_insert_default() += now.saturating_duration_since(running.begin);
        if let Some(Running { span, .. }) = time.running.take()
            && let Some(span) = span
        {
            span.end_at(now);
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
