//! Which plots a report has. Of two targets, A and B have lines of their own.

use std::collections::BTreeMap;

use crate::loadtest::measure::series::Point;
use crate::loadtest::measure::summary::{Distribution, Side, Summary};
use crate::loadtest::report::{Report, ReportKind};
use crate::loadtest::show::plot::{Bar, DECADES, Line, NINES, bars, decades, lines, nines, plain};
use crate::loadtest::units::show_milliseconds;

/// Runs whose percentiles are drawn; beyond, lines cannot be told apart.
const MAX_CURVES: usize = 8;

/// Means of `/metrics` that are drawn, the longest first.
const MAX_MEANS: usize = 10;

/// All plots that have something to show.
pub(crate) fn charts(report: &Report) -> Vec<String> {
    let charts = [
        by_percentile(report),
        over_time(report),
        throughput(report),
        by_rate(report),
        errors(report),
        stages(report),
        means(report),
    ];
    charts.into_iter().flatten().collect()
}

/// The runs of one target, where there are two.
struct Group {
    side: Option<Side>,
    /// What stands before the names of its lines and bars.
    prefix: &'static str,
    /// Of its bars.
    colour: usize,
}

impl Group {
    fn has(&self, run: &Summary) -> bool {
        self.side == run.side
    }
}

fn groups(report: &Report) -> Vec<Group> {
    let group = |side, prefix, colour| Group {
        side,
        prefix,
        colour,
    };
    if report.kind == ReportKind::Compare {
        vec![group(Some(Side::A), "A ", 0), group(Some(Side::B), "B ", 1)]
    } else {
        vec![group(None, "", 0)]
    }
}

/// Latency by percentile: each run's, and its service time where it is the only one.
fn by_percentile(report: &Report) -> Option<String> {
    let points = |distribution: &Distribution| {
        let points = distribution.curve.iter();
        points.map(|&(q, ms)| (nines(q), decades(ms))).collect()
    };
    let single = |name: &str, distribution: &Distribution| Line {
        name: name.to_owned(),
        segments: vec![points(distribution)],
    };
    let runs = &report.runs;
    let mut title = "Latency by percentile".to_owned();
    let drawn: Vec<_> = match runs.as_slice() {
        [run] if run.offered.is_some() => vec![
            single("from the intended moment", &run.latency),
            single("service time", &run.service),
        ],
        _ if report.kind == ReportKind::Compare => groups(report)
            .iter()
            .map(|group| Line {
                name: format!("{}(each turn)", group.prefix),
                segments: runs
                    .iter()
                    .filter(|run| group.has(run))
                    .map(|run| points(&run.latency))
                    .collect(),
            })
            .collect(),
        runs => {
            let chosen = evenly(runs.len());
            if chosen.len() < runs.len() {
                title = format!("{title} ({} of {} runs)", chosen.len(), runs.len());
            }
            let line = |&run: &usize| single(&runs[run].label, &runs[run].latency);
            chosen.iter().map(line).collect()
        }
    };
    lines(&title, &NINES, &DECADES, &drawn)
}

/// At most [`MAX_CURVES`] of `count` runs, the first and the last among them.
fn evenly(count: usize) -> Vec<usize> {
    if count <= MAX_CURVES {
        return (0..count).collect();
    }
    (0..MAX_CURVES)
        .map(|number| number * (count - 1) / (MAX_CURVES - 1))
        .collect()
}

/// A line over the time of all runs, one behind the other, with a segment for each.
fn in_sequence(
    report: &Report,
    group: &Group,
    name: &str,
    value: impl Fn(&Point) -> Option<f64>,
) -> Line {
    let mut segments = Vec::new();
    let mut begin = 0.0;
    for run in &report.runs {
        if group.has(run) {
            let points = run.series.iter();
            let at = |point: &Point| Some((begin + point.second, value(point)?));
            segments.push(points.filter_map(at).collect());
        }
        begin += run.seconds;
    }
    Line {
        name: format!("{}{name}", group.prefix),
        segments,
    }
}

fn over_time(report: &Report) -> Option<String> {
    let of_group = |group: &Group| {
        [
            in_sequence(report, group, "p50", |point| point.p50_ms),
            in_sequence(report, group, "p99", |point| point.p99_ms),
        ]
    };
    let drawn: Vec<_> = groups(report).iter().flat_map(of_group).collect();
    lines(
        "Latency over time",
        &plain("seconds, run after run"),
        &plain("ms"),
        &drawn,
    )
}

fn throughput(report: &Report) -> Option<String> {
    let mut drawn = Vec::new();
    for group in groups(report) {
        drawn.push(in_sequence(report, &group, "images scored", |point| {
            Some(point.images_per_second)
        }));
        let mut runs = report.runs.iter().filter(|run| group.has(run));
        if runs.any(|run| run.requests.failed > 0) {
            drawn.push(in_sequence(report, &group, "requests failed", |point| {
                Some(point.failed_per_second)
            }));
        }
    }
    lines(
        "Throughput over time",
        &plain("seconds, run after run"),
        &plain("per second"),
        &drawn,
    )
}

/// Latency against the offered rate, where there were several.
fn by_rate(report: &Report) -> Option<String> {
    if report.kind == ReportKind::Compare {
        return None;
    }
    let successful = report.runs.iter().filter(|run| run.latency.count > 0);
    let mut by_rate: Vec<_> = successful
        .filter_map(|run| Some((run.offered?, &run.latency)))
        .collect();
    by_rate.sort_by(|a, b| a.0.total_cmp(&b.0));
    if by_rate.first()?.0 == by_rate.last()?.0 {
        return None;
    }
    let line = |name: &str, of: fn(&Distribution) -> f64| Line {
        name: name.to_owned(),
        segments: vec![
            by_rate
                .iter()
                .map(|(rate, latency)| (*rate, decades(of(latency))))
                .collect(),
        ],
    };
    let drawn = [line("p50", |d| d.p50_ms), line("p99", |d| d.p99_ms)];
    lines(
        "Latency by rate",
        &plain("requests per second"),
        &DECADES,
        &drawn,
    )
}

fn errors(report: &Report) -> Option<String> {
    let mut drawn = Vec::new();
    for group in groups(report) {
        let mut counts = BTreeMap::new();
        let runs = report.runs.iter().filter(|run| group.has(run));
        for error in runs.flat_map(|run| &run.errors) {
            *counts.entry(error.kind).or_insert(0) += error.count;
        }
        drawn.extend(counts.into_iter().map(|(kind, count)| Bar {
            name: format!("{}{kind}", group.prefix),
            length: count as f64,
            colour: group.colour,
            value: count.to_string(),
        }));
    }
    bars("Errors by kind", "requests", &drawn)
}

/// The run whose inner times are shown: of a search the one that was found, else the last.
fn shown_run<'a>(report: &'a Report, group: &Group) -> Option<&'a Summary> {
    let mut runs = report.runs.iter().filter(|run| group.has(run));
    let last = runs.clone().next_back();
    let found = report.found_rate;
    let mut at_found = runs
        .by_ref()
        .filter(|run| found.is_some() && run.offered == found);
    at_found.next_back().or(last)
}

/// The shown run of each target, with what it adds to a title.
fn shown_runs(report: &Report) -> (Vec<(Group, &Summary)>, String) {
    let runs: Vec<_> = groups(report)
        .into_iter()
        .filter_map(|group| {
            let run = shown_run(report, &group)?;
            Some((group, run))
        })
        .collect();
    let title = match runs.as_slice() {
        [(_, run)] if report.runs.len() > 1 => format!(", {}", run.label),
        _ => String::new(),
    };
    (runs, title)
}

fn stages(report: &Report) -> Option<String> {
    let (runs, which) = shown_runs(report);
    let mut drawn = Vec::new();
    for (group, run) in runs {
        for stage in &run.stages {
            for (percentile, ms) in [("p50", stage.time.p50_ms), ("p99", stage.time.p99_ms)] {
                drawn.push(Bar {
                    name: format!("{}{} {percentile}", group.prefix, stage.name),
                    length: ms,
                    colour: group.colour,
                    value: show_milliseconds(ms),
                });
            }
        }
    }
    let title = format!("Stages of the target (server-timing){which}");
    bars(&title, "ms", &drawn)
}

fn means(report: &Report) -> Option<String> {
    let (runs, which) = shown_runs(report);
    let mut drawn = Vec::new();
    for (group, run) in runs {
        let mut means: Vec<_> = run.metrics.iter().collect();
        means.sort_by(|a, b| b.mean_ms.total_cmp(&a.mean_ms));
        drawn.extend(means.into_iter().take(MAX_MEANS).map(|mean| {
            let labels = mean
                .name
                .replace("{model_name=", " ")
                .replace(['{', '}', '"'], " ");
            Bar {
                name: format!("{}{labels}", group.prefix),
                length: mean.mean_ms,
                colour: group.colour,
                value: show_milliseconds(mean.mean_ms),
            }
        }));
    }
    let title = format!("Means of the target (/metrics){which}");
    bars(&title, "ms", &drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_runs_the_first_and_the_last_are_drawn() {
        assert_eq!(evenly(3), [0, 1, 2]);
        let chosen = evenly(15);
        assert_eq!(chosen.len(), MAX_CURVES);
        assert_eq!((chosen.first(), chosen.last()), (Some(&0), Some(&14)));
        assert!(chosen.is_sorted_by(|a, b| a < b));
    }
}
