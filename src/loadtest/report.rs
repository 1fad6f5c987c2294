//! All that a load test found out.

use serde::Serialize;

use crate::loadtest::compare::Comparison;
use crate::loadtest::measure::slo::Verdict;
use crate::loadtest::measure::summary::Summary;
use crate::loadtest::protocol::Protocol;

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
    /// What the runs are.
    pub kind: ReportKind,
    /// The runs in their order: one, or one for each rate, probe or turn.
    pub runs: Vec<Summary>,
    /// The ratios of two targets.
    pub comparison: Option<Comparison>,
    /// The highest rate that held the SLO, in requests per second.
    pub found_rate: Option<f64>,
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

/// A score by the name of its file.
#[derive(Clone, Debug, Serialize)]
pub struct ImageScore {
    /// The file's name without its folder.
    pub name: String,
    /// The first score that came.
    pub score: f64,
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
