//! `verify`: compares tensors and scores with a golden set recorded in the predecessor's environment.
//!
//! The tensors are always computed in this process, wherever the scores come from.

pub mod golden;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use futures_util::StreamExt;

use self::golden::{Golden, Tensor};
use super::Exit;
use super::predict::{IN_FLIGHT, Scorer, Scoring};
use crate::pixel::Scratch;

/// Tensors that are listed with their difference; the others are counted.
const LISTED: usize = 20;

/// Flags of `verify`.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Folder with the manifest.json that data/golden/write_golden.py wrote
    #[arg(value_name = "DIR")]
    pub golden: PathBuf,
    /// Folder of the images, if they are not in the manifest's
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Largest allowed difference of a score; beyond it the exit code is 2
    #[arg(long, default_value_t = 0.001)]
    pub max_difference: f64,
    /// Largest allowed difference of a tensor's value, in grey levels; beyond it the exit code is 2
    #[arg(long, default_value_t = 0.0)]
    pub max_grey_levels: f32,
    /// What computes the scores that are compared with those of the set
    #[command(flatten)]
    pub scoring: Scoring,
}

/// Compares all images of the set and prints the differences.
///
/// # Errors
///
/// When the set or an image cannot be read. An image that gets no score makes the exit code 2.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let golden = Golden::open(&args.golden, args.images.as_deref())?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "golden set written by {}; tensors made here, version {} on {}",
        golden.origin(),
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    )?;
    let tensors = Tensors::compare(&golden, args.max_grey_levels)?;
    write!(out, "{}", tensors.report())?;
    let scores = Scores::compare(&golden, &args.scoring).await?;
    write!(out, "{}", scores.report(&args.scoring))?;
    let failures = [
        tensors.failure(args.max_grey_levels),
        scores.failure(args.max_difference),
    ];
    let failures: Vec<_> = failures.into_iter().flatten().collect();
    if failures.is_empty() {
        writeln!(out, "passed")?;
        return Ok(ExitCode::SUCCESS);
    }
    for failure in failures {
        writeln!(out, "FAILED: {failure}")?;
    }
    Ok(Exit::ThresholdMissed.into())
}

/// The result for the tensors.
#[derive(Debug, Default)]
struct Tensors {
    equal: usize,
    both_rejected: usize,
    /// Not equal, but within the limit.
    near: usize,
    /// Beyond the limit.
    missed: usize,
    /// A line for each that is not equal.
    faults: Vec<String>,
}

impl Tensors {
    fn compare(golden: &Golden, max_grey_levels: f32) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let mut scratch = Scratch::default();
        for (name, entry) in golden.entries() {
            let fault = match golden.compare(name, entry, &mut scratch)? {
                Tensor::Equal => {
                    found.equal += 1;
                    continue;
                }
                Tensor::BothRejected => {
                    found.both_rejected += 1;
                    continue;
                }
                Tensor::Differs(difference) => {
                    if difference.grey_levels <= max_grey_levels {
                        found.near += 1;
                    } else {
                        found.missed += 1;
                    }
                    found.faults.push(format!("{name}: {difference}"));
                    continue;
                }
                Tensor::HashMismatch => {
                    "the tensor's hash differs; a golden set with tensors would show where"
                        .to_owned()
                }
                Tensor::RejectedHere(why) => format!("rejected here but accepted by OpenCV: {why}"),
                Tensor::AcceptedHere => "accepted here but rejected by OpenCV".to_owned(),
            };
            found.missed += 1;
            found.faults.push(format!("{name}: {fault}"));
        }
        Ok(found)
    }

    /// Why the limit is missed, if it is.
    fn failure(&self, max_grey_levels: f32) -> Option<String> {
        let total = self.equal + self.near + self.missed;
        (self.missed > 0).then(|| {
            let missed = self.missed;
            format!("{missed} of {total} tensors are beyond --max_grey_levels {max_grey_levels}")
        })
    }

    fn report(&self) -> String {
        let total = self.equal + self.near + self.missed;
        let mut text = format!("tensors bit-equal on {} of {total}", self.equal);
        if self.both_rejected > 0 {
            text += &format!("; rejected by both: {}", self.both_rejected);
        }
        if self.near > 0 {
            text += &format!("; within --max_grey_levels: {}", self.near);
        }
        text.push('\n');
        text += &listed(&self.faults);
        text
    }
}

/// The first of these lines, and how many more there are.
fn listed(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines.iter().take(LISTED) {
        text += &format!("  {line}\n");
    }
    if let Some(more @ 1..) = lines.len().checked_sub(LISTED) {
        text += &format!("  and {more} more\n");
    }
    text
}

/// The result for the scores.
#[derive(Debug, Default)]
struct Scores {
    compared: usize,
    /// The image whose score differs most, with the golden score and ours.
    farthest: Option<(String, f64, f64)>,
    /// A line for each image that got no score.
    errors: Vec<String>,
}

impl Scores {
    async fn compare(golden: &Golden, scoring: &Scoring) -> anyhow::Result<Self> {
        let known: Vec<_> = golden
            .entries()
            .filter_map(|(name, entry)| Some((name.to_owned(), f64::from(entry.score?))))
            .collect();
        if known.is_empty() {
            if scoring.has_backend() {
                bail!(
                    "the golden set has no scores to compare: write it with --predictor (see \
                     data/golden/write_golden.py)"
                );
            }
            return Ok(Self::default());
        }
        let scorer = &Scorer::new(scoring).await?;
        let mut scores = futures_util::stream::iter(known)
            .map(|(name, expected)| {
                let image = golden.image(&name);
                async move {
                    match scorer.score(image).await {
                        Ok(score) => Ok((name, expected, score)),
                        Err(error) => Err(format!("{name}: {error:#}")),
                    }
                }
            })
            .buffered(IN_FLIGHT);
        let mut found = Self::default();
        while let Some(score) = scores.next().await {
            match score {
                Ok(score) => found.add(score),
                Err(error) => found.errors.push(error),
            }
        }
        Ok(found)
    }

    fn add(&mut self, score: (String, f64, f64)) {
        self.compared += 1;
        let distance = |(_, golden, here): &(String, f64, f64)| (golden - here).abs();
        let nearer = |other| distance(other).total_cmp(&distance(&score)).is_lt();
        if self.farthest.as_ref().is_none_or(nearer) {
            self.farthest = Some(score);
        }
    }

    fn within(&self, max_difference: f64) -> bool {
        // Written this way, a NaN is not within.
        self.farthest
            .as_ref()
            .is_none_or(|(_, golden, here)| (golden - here).abs() <= max_difference)
    }

    /// Why the limit is missed, if it is.
    fn failure(&self, max_difference: f64) -> Option<String> {
        if !self.errors.is_empty() {
            return Some(format!("{} images got no score", self.errors.len()));
        }
        let (_, golden, here) = self.farthest.as_ref()?;
        let difference = (golden - here).abs();
        (!self.within(max_difference))
            .then(|| format!("{difference:.3} > --max_difference {max_difference}"))
    }

    fn report(&self, scoring: &Scoring) -> String {
        let mut text = match &self.farthest {
            Some((name, golden, here)) => format!(
                "scores from {}: largest difference {:.3e} of {} images, at {name}: {here} instead \
                 of {golden}\n",
                scoring.source(),
                (golden - here).abs(),
                self.compared
            ),
            None if self.errors.is_empty() => "the golden set has no scores\n".to_owned(),
            None => format!("scores from {}: none\n", scoring.source()),
        };
        text += &listed(&self.errors);
        text
    }
}

#[cfg(test)]
mod tests;
