//! All that a load test found out.

use serde::Serialize;

use crate::loadtest::compare::Comparison;
use crate::loadtest::measure::summary::Summary;
use crate::loadtest::measure::verdict::Verdict;
use crate::loadtest::protocol::Protocol;
use crate::loadtest::provenance::Provenance;
use crate::loadtest::verify::ImageScore;
use crate::loadtest::workload::ImageSet;

/// What a load test found out, ready to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The target's address.
    pub url: String,
    /// How requests were written.
    pub protocol: Protocol,
    /// The model's name at the target.
    pub model: String,
    /// Images per request.
    pub batch: usize,
    /// What was sent.
    pub images: ImageSet,
    /// The bounds of the SLO.
    pub slo: Option<String>,
    /// When, where and with what it was made.
    pub provenance: Provenance,
    /// What the runs are.
    pub kind: ReportKind,
    /// The runs in their order: one, or one for each rate, probe or turn.
    pub runs: Vec<Summary>,
    /// The ratios of two targets.
    pub comparison: Option<Comparison>,
    /// The highest rate of a search that held the SLO, in requests per second.
    pub found_rate: Option<f64>,
    /// Up to where a ramp held the SLO.
    pub ramp: Option<Ramp>,
    /// Why the target was given up, if it was.
    pub stopped: Option<String>,
    /// The SLO, bound by bound, for the last run that it is judged by.
    pub verdicts: Vec<Verdict>,
    /// The first score of each image.
    pub scores: Vec<ImageScore>,
    /// What limits the figures.
    pub notes: Vec<String>,
}

/// What the runs of a report are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// One closed loop.
    Closed,
    /// Open loops, one for each rate.
    Open,
    /// The probes of a search.
    FindRate,
    /// The turns of two targets.
    Compare,
}

/// The rates at which a ramp held the SLO.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ramp {
    /// The highest rate up to which every rate held.
    pub held_up_to: Option<f64>,
    /// The lowest rate that did not.
    pub missed_at: Option<f64>,
}

impl Report {
    /// Whether an SLO was missed, or an expected score.
    pub fn missed(&self) -> bool {
        self.verdicts.iter().any(|verdict| !verdict.held)
            || (self.kind == ReportKind::FindRate && self.found_rate.is_none())
    }

    /// Whether any request succeeded.
    pub fn any_ok(&self) -> bool {
        self.runs.iter().any(|run| run.requests.ok > 0)
    }
}
