//! What a report says about the SLO, out of what each run says.

use crate::loadtest::failure::FailureKind;
use crate::loadtest::measure::verdict::Verdict;
use crate::loadtest::report::{Ramp, Report, ReportKind};
use crate::loadtest::settings::Settings;

/// Every run is judged, but for a search, where the best rate has held by construction. Of each
/// bound the first miss is shown, else the last run's figure.
pub(crate) fn of_report(settings: &Settings, report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    if report.kind != ReportKind::FindRate {
        let bounds = report.runs.first().map_or(0, |run| run.verdicts.len());
        for bound in 0..bounds {
            let mut of_runs = report.runs.iter().map(|run| &run.verdicts[bound]);
            let last = of_runs.clone().next_back();
            verdicts.extend(of_runs.find(|verdict| !verdict.held).or(last).cloned());
        }
    }
    if settings.golden.is_some() {
        let wrong: u64 = report
            .runs
            .iter()
            .flat_map(|run| &run.errors)
            .filter(|error| error.kind == FailureKind::WrongScore)
            .map(|error| error.count)
            .sum();
        verdicts.push(Verdict {
            bound: "scores as in --golden".to_owned(),
            measured: format!("{wrong} wrong"),
            held: wrong == 0,
        });
    }
    verdicts
}

/// Up to which rate a ramp held its SLO; none if it is no ramp or has no SLO.
pub(crate) fn ramp(report: &Report) -> Option<Ramp> {
    if report.kind != ReportKind::Open || report.runs.len() < 2 {
        return None;
    }
    let rates = report.runs.iter();
    let mut rates: Vec<_> = rates
        .map(|run| Some((run.offered?, run.held()?)))
        .collect::<Option<_>>()?;
    // A ramp may fall.
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let missed = rates.iter().position(|&(_, held)| !held);
    let held = missed.unwrap_or(rates.len()).checked_sub(1);
    Some(Ramp {
        held_up_to: held.map(|index| rates[index].0),
        missed_at: missed.map(|index| rates[index].0),
    })
}
